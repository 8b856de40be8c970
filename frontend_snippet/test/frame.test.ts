// With Kombo's own SDK and a page that answers as Kombo's does.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { IBrowserSettings } from "happy-dom";
import { connect } from "../src/index.js";
import { LINK, page, settled, TOKEN } from "./fakes.js";

let arrival = Promise.resolve();
let button: HTMLButtonElement;

// The frames of the tests load an empty page, from nowhere.
const { happyDOM } = window as unknown as { happyDOM: { settings: IBrowserSettings } };
happyDOM.settings.enableIframePageLoading = true;
happyDOM.settings.fetch.interceptor = {
  async beforeAsyncRequest({ window }) {
    await arrival;
    return new window.Response("");
  },
};

beforeEach(() => {
  button = document.body.appendChild(document.createElement("button"));
  button.focus();
});

afterEach(() => {
  document.body.replaceChildren();
});

/** A click on the button: Kombo's own SDK opens its dialog. */
async function click(more: Parameters<typeof connect>[0] = {}) {
  const { backend, options } = page();
  const result = connect({ ...options, showKomboConnect: undefined, ...more });
  await settled();
  const frame = document.querySelector("iframe");
  if (!frame) throw new Error("Kombo's SDK opened no frame");
  await vi.waitFor(() => expect(document.activeElement).toBe(frame)); // its page has arrived
  return { backend, frame, result };
}

/** What Kombo's page in the frame says to its parent. */
async function say(frame: HTMLIFrameElement, message: unknown): Promise<void> {
  window.dispatchEvent(new MessageEvent("message", { data: message, source: frame.contentWindow }));
  await settled();
}

const success = { type: "success", data: { activation_token: TOKEN } };

describe("the dialog of Kombo's own SDK", () => {
  it("gets the link, and its message completes the flow", async () => {
    const { backend, frame, result } = await click();
    expect(frame.src.startsWith(LINK)).toBe(true);
    await say(frame, success);
    expect(await result).toMatchObject({ status: "connected" });
    expect(backend.last("POST completions").body).toEqual({ activation_token: TOKEN });
  });

  it("has a name for a screen reader", async () => {
    const { frame, result } = await click();
    expect(frame.title).toBe("Connect your HR tool");
    await say(frame, { type: "close" });
    expect(await result).toEqual({ status: "cancelled" });
  });

  it("has the page's name for it", async () => {
    const { frame, result } = await click({ title: "Personalsoftware verbinden" });
    expect(frame.title).toBe("Personalsoftware verbinden");
    await say(frame, { type: "close" });
    await result;
  });

  it("takes the focus, and gives it back", async () => {
    const { frame, result } = await click();
    expect(document.activeElement).toBe(frame);
    await say(frame, { type: "close" });
    await result;
    expect(document.activeElement).toBe(button);
  });

  it("is not disturbed when its page arrives and the end user is in it already", async () => {
    let arrive = (): void => {};
    arrival = new Promise((resolve) => (arrive = resolve));
    const opening = click();
    await settled();
    const disturbed = vi.spyOn(document.querySelector("iframe")!, "focus");
    expect(document.activeElement).toBe(button);
    document.querySelector("iframe")!.focus();
    arrive();
    const { frame, result } = await opening;
    await settled();
    expect(disturbed).toHaveBeenCalledTimes(1); // the end user's own
    await say(frame, { type: "close" });
    await result;
  });

  it("does not give the focus back to what is no longer there", async () => {
    const { frame, result } = await click();
    button.remove();
    await say(frame, { type: "close" });
    await result;
    expect(document.activeElement).toBe(document.body);
  });

  it("does not take the focus away from where the page has put it since", async () => {
    const { frame, result } = await click();
    const field = document.body.appendChild(document.createElement("input"));
    field.focus();
    await say(frame, { type: "close" });
    await result;
    expect(document.activeElement).toBe(field);
  });

  it("leaves other frames alone", async () => {
    const { frame, result } = await click();
    const other = document.body.appendChild(document.createElement("iframe"));
    await settled();
    expect(other.title).toBe("");
    await say(frame, { type: "close" });
    await result;
  });

  it("is in the page's own container", async () => {
    const container = document.body.appendChild(document.createElement("div"));
    const { frame, result } = await click({ container });
    expect(frame.parentElement).toBe(container);
    expect(frame.title).toBe("Connect your HR tool");
    await say(frame, { type: "close" });
    await result;
  });

  it("is cancelled, not stuck, when something takes it off the page", async () => {
    const { frame, result } = await click();
    frame.remove();
    expect(await result).toEqual({ status: "cancelled" });
  });

  it("is cancelled, not stuck, when the body is emptied", async () => {
    const { result } = await click();
    document.body.replaceChildren();
    expect(await result).toEqual({ status: "cancelled" });
  });

  it.each([{ type: "success" }, { type: "success", data: null }])(
    "ends, instead of staying open for ever, when Kombo's page has no data to tell: %j",
    async (message) => {
      const { backend, frame, result } = await click();
      const laterListener = vi.fn(); // as the SDK's own, which such a message would make throw
      window.addEventListener("message", laterListener, { once: true });
      await say(frame, message);
      expect(laterListener).not.toHaveBeenCalled();
      expect(await result).toEqual({ status: "finished" });
      expect(frame.isConnected).toBe(false);
      expect(backend.calls).toEqual(["POST links"]);
    },
  );

  it("believes no other window", async () => {
    const { frame, result } = await click();
    for (const message of [success, { type: "success" }, { type: "close" }]) {
      window.dispatchEvent(new MessageEvent("message", { data: message, source: window }));
    }
    await settled();
    expect(frame.isConnected).toBe(true);
    await say(frame, { type: "close" });
    await result;
  });

  it("waits through messages that are none of its business", async () => {
    const { frame, result } = await click();
    for (const message of [{ type: "resize" }, {}, "text"]) await say(frame, message);
    expect(frame.isConnected).toBe(true);
    await say(frame, success);
    expect(await result).toMatchObject({ status: "connected" });
  });

  it("shows the page behind it, whatever colours the host prefers", async () => {
    const { frame, result } = await click();
    expect(frame.style.colorScheme).toBe("light");
    expect(frame.style.border).toMatch(/^0/);
    await say(frame, { type: "close" });
    await result;
  });

  it("is closed by Esc while the focus is outside of it, and keeps the key from the page", async () => {
    const { frame, result } = await click();
    const pressed = vi.fn();
    document.addEventListener("keydown", pressed);
    const press = (init: KeyboardEventInit) => {
      const event = new KeyboardEvent("keydown", { bubbles: true, cancelable: true, ...init });
      button.dispatchEvent(event);
      return event;
    };
    press({ key: "a" });
    press({ key: "Escape", isComposing: true });
    expect(frame.isConnected).toBe(true);
    expect(pressed).toHaveBeenCalledTimes(2);
    expect(press({ key: "Escape" }).defaultPrevented).toBe(true);
    expect(await result).toEqual({ status: "cancelled" });
    document.removeEventListener("keydown", pressed);
    expect(pressed).toHaveBeenCalledTimes(2);
    expect(press({ key: "Escape" }).defaultPrevented).toBe(false);
  });

  it.each([
    ["enforce", "frame-src", LINK, true],
    ["report", "frame-src", LINK, false],
    ["enforce", "img-src", LINK, false],
    ["enforce", "frame-src", "https://other.example", false],
  ])("that the page's policy refuses (%s, %s, %s) is an error: %s", async (...told) => {
    const [disposition, effectiveDirective, blockedURI, refused] = told;
    const { frame, result } = await click();
    const violation = Object.assign(new Event("securitypolicyviolation"), {
      disposition,
      effectiveDirective,
    });
    document.dispatchEvent(Object.assign(violation, { blockedURI }));
    expect(frame.isConnected).toBe(!refused);
    if (refused) await expect(result).rejects.toMatchObject({ code: "dialog_blocked" });
    await say(frame, { type: "close" });
    await result.catch(() => {});
  });

  describe("whose page does not come", () => {
    let arrive = (): void => {};

    async function wait(seconds: number, more: Parameters<typeof connect>[0] = {}) {
      arrival = new Promise((resolve) => (arrive = resolve));
      const { options, clock } = page();
      const result = connect({ ...options, showKomboConnect: undefined, ...more });
      result.catch(() => {});
      await settled();
      await clock.advance(seconds * 1000);
      const frame = document.querySelector("iframe")!;
      return { result, frame, bar: document.querySelector<HTMLElement>("[role=alertdialog]") };
    }

    afterEach(() => arrive());

    it("gets a button that closes it after ten seconds, in the language of the flow", async () => {
      const { result, frame, bar } = await wait(10, { language: "de" });
      expect(bar?.getAttribute("aria-label")).toBe("Das hat nicht geklappt. Bitte erneut versuchen.");
      expect(bar?.style.zIndex).toBe(frame.style.zIndex);
      const close = bar!.querySelector("button")!;
      expect(close.textContent).toBe("Schließen");
      expect(document.activeElement).toBe(close);
      close.click();
      await expect(result).rejects.toMatchObject({ code: "dialog_timeout" });
      expect(document.querySelector("iframe, [role=alertdialog]")).toBeNull();
      expect(document.activeElement).toBe(button);
    });

    it("is given those ten seconds", async () => {
      const { frame, bar, result } = await wait(9.9);
      expect(bar).toBeNull();
      frame.remove();
      await result;
    });

    it("is shown all the same when it comes late", async () => {
      const { frame, result } = await wait(10);
      arrive();
      await vi.waitFor(() => expect(document.activeElement).toBe(frame));
      expect(document.querySelector("[role=alertdialog]")).toBeNull();
      await say(frame, { type: "close" });
      expect(await result).toEqual({ status: "cancelled" });
    });
  });

  it("can be opened again after all of this", async () => {
    const { frame, result } = await click();
    await say(frame, success);
    expect(await result).toMatchObject({ status: "connected" });
  });
});
