// The element with fakes: its requests, events and texts. Its style is tested in Chromium.
import { afterEach, describe, expect, it } from "vitest";
import { KomboConnectButton } from "../src/element.js";
import type { KomboConnectEvents } from "../src/element.js";
import { finishing, LINK, page, PERSONIO, problem, settled, TOKEN } from "./fakes.js";

const EVENTS = ["connected", "finished", "cancelled", "already-connected", "failed"] as const;

afterEach(() => document.body.replaceChildren());

/** A button in a page with a listener on an ancestor. */
function place(attributes: Record<string, string> = {}, surroundings = page()) {
  const events: { type: string; detail: unknown }[] = [];
  const main = document.body.appendChild(document.createElement("main"));
  for (const name of EVENTS) {
    main.addEventListener(`kombo-${name}`, ({ type, detail }: KomboConnectEvents[`kombo-${typeof name}`]) =>
      events.push({ type, detail }),
    );
  }
  const element = document.createElement("kombo-connect-button");
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.options = surroundings.options;
  main.append(element);
  return { ...surroundings, element, events, main, ...inside(element) };
}

function inside(element: KomboConnectButton) {
  const shadow = element.shadowRoot!;
  return {
    button: shadow.querySelector<HTMLButtonElement>("[part~=button]")!,
    label: shadow.querySelector("slot")!,
    message: shadow.querySelector("[part=message]")!,
    again: shadow.querySelector<HTMLButtonElement>("[part=reconnect]")!,
  };
}

describe("a click on the button", () => {
  it("connects with the options of the attributes, and dispatches an event that bubbles", async () => {
    const attributes = { tool: "greenhouse", category: "ATS", language: "fr" };
    const { backend, sdk, button, events } = place(attributes);
    button.click();
    await sdk.finish();
    expect(backend.last("POST links").body).toEqual({
      integration_category: "ATS",
      integration_tool: "greenhouse",
      language: "fr",
    });
    const detail = { status: "connected", integration: PERSONIO, first: true };
    expect(events).toEqual([{ type: "kombo-connected", detail }]);
  });

  it("prefers the endpoint of the attribute to that of the options", async () => {
    const other = page();
    const { element, button, backend } = place({ endpoint: other.backend.endpoint });
    element.options = { ...element.options, fetch: other.backend.fetch, showKomboConnect: finishing };
    button.click();
    await settled();
    expect(other.backend.calls).toEqual(["POST links", "POST completions"]);
    expect(backend.calls).toEqual([]);
  });

  it("dispatches an event if the end user closes the dialog", async () => {
    const { sdk, button, events, message } = place();
    button.click();
    await sdk.fail("KomboConnectCancelledError");
    expect(events).toEqual([{ type: "kombo-cancelled", detail: { status: "cancelled" } }]);
    expect(message.textContent).toBe("");
  });

  it("dispatches an event if the flow ends without a token", async () => {
    const { sdk, button, events } = place();
    button.click();
    await sdk.finish("");
    expect(events).toEqual([{ type: "kombo-finished", detail: { status: "finished" } }]);
  });

  it("reports a failure by an event, and in a live region until the next click", async () => {
    const { backend, sdk, button, events, message, element } = place({ language: "de" });
    backend.on("POST links", problem(503, "kombo_unavailable"), Response.json({ link: LINK }));
    button.click();
    await settled();
    expect(events).toMatchObject([{ type: "kombo-failed", detail: { code: "kombo_unavailable" } }]);
    expect(message.getAttribute("role")).toBe("alert");
    expect(message.textContent).toBe("Das hat nicht geklappt. Bitte erneut versuchen.");
    expect(element.status).toBe("failed");
    button.click();
    expect(message.textContent).toBe("");
    await sdk.finish();
  });

  it("does nothing while it is disabled", async () => {
    const { backend, element, button } = place();
    element.disabled = true;
    button.click();
    expect(await element.connect()).toBeUndefined();
    expect(button.getAttribute("aria-disabled")).toBe("true");
    element.disabled = false;
    expect(button.getAttribute("aria-disabled")).toBe("false");
    expect(backend.calls).toEqual([]);
  });

  it("does not submit a form around it", () => {
    expect(place().button.type).toBe("button");
    expect(place().again.type).toBe("button");
  });
});

describe("while its flow is in progress, the button", () => {
  it("is busy, keeps the focus, and starts no other flow", async () => {
    const { backend, sdk, element, button } = place();
    element.focus();
    button.click();
    await sdk.open();
    expect(element.status).toBe("open");
    expect(button.getAttribute("aria-busy")).toBe("true");
    expect(button.getAttribute("aria-disabled")).toBe("true");
    expect(button.disabled).toBe(false);
    expect(button.getAttribute("part")).toBe("button busy");
    button.click();
    expect(await element.connect()).toBeUndefined();
    await sdk.finish();
    expect(button.getAttribute("aria-busy")).toBe("false");
    expect(button.getAttribute("part")).toBe("button");
    expect(backend.count("POST links")).toBe(1);
  });

  it("can be removed: the completion is recorded and its event dispatched on the document", async () => {
    const { backend, sdk, button, element, events } = place();
    const received: unknown[] = [];
    const listen = (event: KomboConnectEvents["kombo-connected"]) => received.push(event.detail.integration);
    document.addEventListener("kombo-connected", listen);
    button.click();
    await sdk.open();
    element.remove();
    await sdk.finish();
    document.removeEventListener("kombo-connected", listen);
    expect(backend.calls).toEqual(["POST links", "POST completions"]);
    expect(received).toEqual([PERSONIO]);
    expect(events).toEqual([]);
  });
});

describe("several buttons on a page", () => {
  it("share one dialog, and have a state each", async () => {
    const surroundings = page();
    const first = place({ tool: "personio" }, surroundings);
    const second = place({ tool: "workday" }, surroundings);
    first.button.click();
    await surroundings.sdk.open();
    second.button.click();
    await settled();
    expect(second.events).toMatchObject([{ type: "kombo-failed", detail: { code: "already_open" } }]);
    await surroundings.sdk.finish();
    expect(first.events).toMatchObject([{ type: "kombo-connected" }]);
    expect(surroundings.sdk.opened).toHaveLength(1);
  });
});

describe("a tool that is connected already", () => {
  function placeConflict() {
    const placed = place({ tool: "personio" });
    placed.backend.on("POST links", problem(409, "already_connected", { integration: PERSONIO }));
    placed.backend.on("POST integrations/int_1/relink", () =>
      Response.json({ link: "https://connect.kombo.dev/r" }),
    );
    return placed;
  }

  it("dispatches an event, and can be reconnected from the button", async () => {
    const { sdk, button, again, message, events } = placeConflict();
    button.click();
    await settled();
    expect(message.textContent).toBe("Personio is connected already.");
    expect(again.hidden).toBe(false);
    again.click();
    await sdk.finish();
    expect(events).toMatchObject([
      { type: "kombo-already-connected", detail: { integration: PERSONIO } },
      { type: "kombo-connected" },
    ]);
    expect(again.hidden).toBe(true);
  });

  it("is left to the page if the event is cancelled", async () => {
    const { button, again, message, main } = placeConflict();
    main.addEventListener("kombo-already-connected", (event) => event.preventDefault());
    button.click();
    await settled();
    expect(message.textContent).toBe("");
    expect(again.hidden).toBe(true);
  });
});

describe("an end user who is not signed in", () => {
  it("is asked to sign in, not to try again", async () => {
    const { backend, button, message, events } = place();
    backend.on("POST links", problem(401, "unauthenticated"));
    button.click();
    await settled();
    expect(message.textContent).toBe("Please sign in.");
    expect(events).toMatchObject([{ type: "kombo-failed", detail: { code: "unauthenticated" } }]);
  });
});

describe("a failure that another attempt does not help", () => {
  it.each([
    ["kombo_rejected", "Das geht gerade nicht. Bitte den Support kontaktieren."],
    ["forbidden", "Only admins may connect tools."],
  ])("says what does: %s", async (code, text) => {
    const { backend, button, message } = place({ language: "de" });
    backend.on(
      "POST links",
      problem(code === "forbidden" ? 403 : 502, code, { detail: "Only admins may connect tools." }),
    );
    button.click();
    await settled();
    expect(message.textContent).toBe(text);
  });
});

describe("a pending completion of an earlier page", () => {
  it("is sent when the button is connected, and dispatches its event there", async () => {
    const surroundings = page();
    const { backend, clock, storage } = surroundings;
    const entry = { endpoint: backend.endpoint, activationToken: TOKEN, keptAt: clock.now() - 1000 };
    storage.setItem("kombo-embed.pending", JSON.stringify([entry]));
    const { events, element } = place({}, surroundings);
    await settled();
    expect(backend.calls).toEqual(["POST completions"]);
    expect(events).toMatchObject([{ type: "kombo-connected", detail: { integration: PERSONIO } }]);
    expect(element.status).toBe("connected");
  });
});

describe("the label", () => {
  it("is the attribute, or a default in the language of the flow or of the page", () => {
    expect(place({ label: "Connect Personio" }).label.textContent).toBe("Connect Personio");
    expect(place().label.textContent).toBe("Connect your HR tool");
    expect(place({ language: "es" }).label.textContent).toBe("Conectar una herramienta de RR. HH.");
    const { element, main, label } = place();
    main.lang = "it-CH";
    main.append(element);
    expect(label.textContent).toBe("Collega uno strumento HR");
  });

  it("follows the attribute", () => {
    const { element, label } = place();
    element.label = "Go";
    expect(element.getAttribute("label")).toBe("Go");
    expect(label.textContent).toBe("Go");
    element.label = null;
    expect(label.textContent).toBe("Connect your HR tool");
  });
});

describe("properties", () => {
  it("that were set before the element was defined take effect", () => {
    const { options } = page();
    // Like an element that the page changed before its class was defined.
    const early = { tool: "hibob", disabled: true, options };
    class Late extends KomboConnectButton {
      constructor() {
        super();
        for (const [name, value] of Object.entries(early)) {
          Object.defineProperty(this, name, { value, configurable: true, writable: true });
        }
      }
    }
    customElements.define("kombo-connect-button-late", Late);
    const element = document.body.appendChild(new Late());
    expect(element.getAttribute("tool")).toBe("hibob");
    expect(element.hasAttribute("disabled")).toBe(true);
    expect(element.options).toBe(options);
    element.tool = "personio";
    expect(element.getAttribute("tool")).toBe("personio");
  });
});
