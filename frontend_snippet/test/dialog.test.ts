// With Kombo's SDK, and a page that sends the messages of Kombo's page.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { IBrowserSettings } from "happy-dom";
import { connect } from "../src/index.js";
import { LINK, page, settled, TOKEN } from "./fakes.js";

let arrival = Promise.resolve();
let button: HTMLButtonElement;

// The frames of the tests load an empty page, without a network.
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

/** Click the button, so that Kombo's SDK opens its dialog. */
async function click(more: Parameters<typeof connect>[0] = {}) {
  const { backend, options } = page();
  const result = connect({ ...options, showKomboConnect: undefined, ...more });
  await settled();
  const frame = document.querySelector("iframe");
  if (!frame) throw new Error("Kombo's SDK opened no frame");
  await vi.waitFor(() => expect(document.activeElement).toBe(frame)); // its page has loaded
  return { backend, frame, result };
}

/** Send a message from Kombo's page in the frame to its parent. */
async function post(frame: HTMLIFrameElement, message: unknown): Promise<void> {
  window.dispatchEvent(new MessageEvent("message", { data: message, source: frame.contentWindow }));
  await settled();
}

const success = { type: "success", data: { activation_token: TOKEN } };

describe("the dialog of Kombo's own SDK", () => {
  it("gets the link, and its message completes the flow", async () => {
    const { backend, frame, result } = await click();
    expect(frame.src.startsWith(LINK)).toBe(true);
    await post(frame, success);
    expect(await result).toMatchObject({ status: "connected" });
    expect(backend.last("POST completions").body).toEqual({ activation_token: TOKEN });
  });

  it("has a default name for screen readers", async () => {
    const { frame, result } = await click();
    expect(frame.title).toBe("Connect your HR tool");
    await post(frame, { type: "close" });
    expect(await result).toEqual({ status: "cancelled" });
  });

  it("has the name of the `title` option", async () => {
    const { frame, result } = await click({ title: "Personalsoftware verbinden" });
    expect(frame.title).toBe("Personalsoftware verbinden");
    await post(frame, { type: "close" });
    await result;
  });

  it("gets the focus, and restores it", async () => {
    const { frame, result } = await click();
    expect(document.activeElement).toBe(frame);
    await post(frame, { type: "close" });
    await result;
    expect(document.activeElement).toBe(button);
  });

  it("is not focused again when its page loads while the end user is in it", async () => {
    let arrive = (): void => {};
    arrival = new Promise((resolve) => (arrive = resolve));
    const opening = click();
    await settled();
    const focus = vi.spyOn(document.querySelector("iframe")!, "focus");
    expect(document.activeElement).toBe(button);
    document.querySelector("iframe")!.focus();
    arrive();
    const { frame, result } = await opening;
    await settled();
    expect(focus).toHaveBeenCalledTimes(1); // by the test itself
    await post(frame, { type: "close" });
    await result;
  });

  it("does not restore the focus to an element that was removed", async () => {
    const { frame, result } = await click();
    button.remove();
    await post(frame, { type: "close" });
    await result;
    expect(document.activeElement).toBe(document.body);
  });

  it("does not restore the focus if the page has moved it", async () => {
    const { frame, result } = await click();
    const field = document.body.appendChild(document.createElement("input"));
    field.focus();
    await post(frame, { type: "close" });
    await result;
    expect(document.activeElement).toBe(field);
  });

  it("does not change other frames", async () => {
    const { frame, result } = await click();
    const other = document.body.appendChild(document.createElement("iframe"));
    await settled();
    expect(other.title).toBe("");
    await post(frame, { type: "close" });
    await result;
  });

  it("is opened in a modal dialog in the page's container", async () => {
    const container = document.body.appendChild(document.createElement("div"));
    const { frame, result } = await click({ container });
    expect(frame.parentElement).toBe(container.querySelector("dialog[open]"));
    expect(frame.parentElement?.ariaLabel).toBe("Connect your HR tool");
    expect(frame.title).toBe("Connect your HR tool");
    await post(frame, { type: "close" });
    await result;
  });

  it("is cancelled when its frame is removed", async () => {
    const { frame, result } = await click();
    frame.remove();
    expect(await result).toEqual({ status: "cancelled" });
  });

  it("is cancelled when the body is emptied", async () => {
    const { result } = await click();
    document.body.replaceChildren();
    expect(await result).toEqual({ status: "cancelled" });
  });

  it.each([{ type: "success" }, { type: "success", data: null }])(
    "closes after a success without data: %j",
    async (message) => {
      const { backend, frame, result } = await click();
      const laterListener = vi.fn(); // registered like the SDK's, which throws on this message
      window.addEventListener("message", laterListener, { once: true });
      await post(frame, message);
      expect(laterListener).not.toHaveBeenCalled();
      expect(await result).toEqual({ status: "finished" });
      expect(frame.isConnected).toBe(false);
      expect(backend.calls).toEqual(["POST links"]);
    },
  );

  it("ignores messages of other windows", async () => {
    const { frame, result } = await click();
    for (const message of [success, { type: "success" }, { type: "close" }]) {
      window.dispatchEvent(new MessageEvent("message", { data: message, source: window }));
    }
    await settled();
    expect(frame.isConnected).toBe(true);
    await post(frame, { type: "close" });
    await result;
  });

  it("ignores messages of other types", async () => {
    const { frame, result } = await click();
    for (const message of [{ type: "resize" }, {}, "text"]) await post(frame, message);
    expect(frame.isConnected).toBe(true);
    await post(frame, success);
    expect(await result).toMatchObject({ status: "connected" });
  });

  it("is transparent in every color scheme of the page", async () => {
    const { frame, result } = await click();
    expect(frame.style.colorScheme).toBe("light");
    expect(frame.style.border).toMatch(/^0/);
    await post(frame, { type: "close" });
    await result;
  });

  it("closes on Esc while the focus is outside of it, and stops the event", async () => {
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
  ])("that the page's policy blocks (%s, %s, %s) is an error: %s", async (...violated) => {
    const [disposition, effectiveDirective, blockedURI, blocked] = violated;
    const { frame, result } = await click();
    const violation = Object.assign(new Event("securitypolicyviolation"), {
      disposition,
      effectiveDirective,
    });
    document.dispatchEvent(Object.assign(violation, { blockedURI }));
    expect(frame.isConnected).toBe(!blocked);
    if (blocked) await expect(result).rejects.toMatchObject({ code: "dialog_blocked" });
    await post(frame, { type: "close" });
    await result.catch(() => {});
  });

  describe("whose page does not load", () => {
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

    it("gets a button to close it after ten seconds, in the language of the flow", async () => {
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

    it("gets no button before", async () => {
      const { frame, bar, result } = await wait(9.9);
      expect(bar).toBeNull();
      frame.remove();
      await result;
    });

    it("loses the button when its page loads late", async () => {
      const { frame, result } = await wait(10);
      arrive();
      await vi.waitFor(() => expect(document.activeElement).toBe(frame));
      expect(document.querySelector("[role=alertdialog]")).toBeNull();
      await post(frame, { type: "close" });
      expect(await result).toEqual({ status: "cancelled" });
    });
  });

  it("can be opened again", async () => {
    const { frame, result } = await click();
    await post(frame, success);
    expect(await result).toMatchObject({ status: "connected" });
  });
});
