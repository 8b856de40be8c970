// The list with fakes: its order, texts, actions, events and states. Its style is tested in Chromium.
import { afterEach, describe, expect, it } from "vitest";
import type { Integration } from "../src/index.js";
import "../src/integrations-element.js";
import type { KomboIntegrationsEvents } from "../src/integrations-element.js";
import { initials } from "../src/list/logo.js";
import { finishing, json, LINK, page, PERSONIO, problem, settled, unreachable } from "./fakes.js";

const EVENTS = ["integrations", "connected", "finished", "cancelled", "failed", "disconnected"] as const;
const LANGUAGES = ["en", "de", "fr", "it", "es"];

afterEach(() => {
  document.body.replaceChildren();
  document.documentElement.lang = "";
});

const integration = (id: string, more: Partial<Integration> = {}): Integration => ({
  ...PERSONIO,
  id,
  ...more,
});

async function place(
  integrations: readonly Integration[],
  {
    actions = ["disconnect"],
    attributes = {},
  }: { actions?: string[]; attributes?: Record<string, string> } = {},
) {
  const surroundings = page();
  surroundings.backend.on("GET integrations", () => json(200, { integrations, actions }));
  const placed = placeElement(surroundings, attributes);
  await settled();
  return placed;
}

function placeElement(surroundings: ReturnType<typeof page>, attributes: Record<string, string> = {}) {
  const events: string[] = [];
  const main = document.body.appendChild(document.createElement("main"));
  for (const name of EVENTS)
    main.addEventListener(`kombo-${name}`, ({ type }: KomboIntegrationsEvents[`kombo-${typeof name}`]) =>
      events.push(type),
    );
  const element = document.createElement("kombo-integrations");
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.options = surroundings.options;
  main.append(element);
  const shadow = element.shadowRoot!;
  const all = (testId: string) => [...shadow.querySelectorAll<HTMLElement>(`[data-testid=${testId}]`)];
  const text = (part: string) => shadow.querySelector<HTMLElement>(`[part~="${part}"]`)!.textContent;
  const visible = (part: string) => !shadow.querySelector<HTMLElement>(`[part~="${part}"]`)!.hidden;
  const names = () => [...shadow.querySelectorAll("[part=name]")].map((name) => name.textContent);
  return { ...surroundings, element, shadow, events, all, text, visible, names };
}

describe("the list", () => {
  it("shows what needs the end user first, then the newest", async () => {
    const at = (day: number) => `2026-01-0${day}T00:00:00Z`;
    const { names, text } = await place([
      integration("1", { tool: "old", connected_at: at(1) }),
      integration("2", { tool: "unfinished", next_action: "finish_setup", connected_at: at(2) }),
      integration("3", { tool: "syncing", next_action: "wait_for_sync", connected_at: at(3) }),
      integration("4", { tool: "broken", next_action: "reconnect", connected_at: at(1) }),
      integration("5", { tool: "fresh", next_action: "pending", connected_at: at(4) }),
      integration("6", { tool: "paused", next_action: "enable", connected_at: at(5) }),
    ]);
    expect(names()).toEqual(["Broken", "Unfinished", "Paused", "Fresh", "Syncing", "Old"]);
    expect(text("attention")).toBe("3 need attention");
  });

  it("names a tool by its label, and otherwise by its id", async () => {
    const { names } = await place([
      integration("1", { tool: "hibob", tool_label: "HiBob" }),
      integration("2", { tool: "workday", tool_label: null, connected_at: "2025-01-01T00:00:00Z" }),
    ]);
    expect(names()).toEqual(["HiBob", "Workday"]);
  });

  it.each([
    ["none", "Connected"],
    ["pending", "Checking setup"],
    ["finish_setup", "Setup unfinished"],
    ["reconnect", "Needs attention"],
  ])("calls an integration connected only if nothing is left to do: %s", async (next, status) => {
    const { shadow, text } = await place([integration("1", { next_action: next })]);
    expect(text("status")).toBe(status);
    const row = shadow.querySelector("[part=row]")!.textContent;
    expect(row.includes("Connected")).toBe(next === "none");
  });

  it.each([
    ["en", "Please contact support."],
    ["de", "Bitte den Support kontaktieren."],
    ["fr", "Contactez le support."],
    ["it", "Contatta l’assistenza."],
    ["es", "Contacte con el soporte."],
  ])(
    "shows that only support can enable an integration again, without a button: %s",
    async (language, advice) => {
      document.documentElement.lang = language;
      const { shadow, text } = await place([integration("1", { next_action: "enable" })]);
      document.documentElement.lang = "";
      expect(text("advice")).toContain(advice);
      expect(shadow.querySelector<HTMLElement>("[part=action]")!.hidden).toBe(true);
    },
  );

  it("tells which of several connections of a tool are not the newest, by category", async () => {
    const { shadow } = await place([
      integration("1", { connected_at: "2026-01-02T00:00:00Z" }),
      integration("2"),
      integration("3", { category: "ATS" }),
      integration("4", { tool: "hibob" }),
    ]);
    const advice = [...shadow.querySelectorAll("[part=advice]")].map((one) => one.textContent);
    expect(advice).toEqual(["", "Connected twice. Disconnect one?", "", ""]);
  });

  it.each(["upgrade", "constructor"])(
    "shows an unknown next action as it is, without a button: %s",
    async (next) => {
      const { shadow, text } = await place([integration("1", { next_action: next })]);
      expect(text("status")).toBe(next);
      expect(shadow.querySelector<HTMLElement>("[part=status]")!.dataset["tone"]).toBe("plain");
      expect(shadow.querySelector<HTMLElement>("[part=action]")!.hidden).toBe(true);
    },
  );

  it("keeps the row of an integration, and the focus in it, when the list changes", async () => {
    const { backend, clock, all, shadow } = await place([
      integration("1"),
      integration("2", { tool: "hibob" }),
    ]);
    const [, before] = all("integration");
    const [, button] = all("row-menu");
    button!.focus();
    backend.on(
      "GET integrations",
      json(200, { integrations: [integration("2", { tool: "hibob", next_action: "reconnect" })] }),
    );
    await clock.advance(5_000);
    expect(all("integration")).toEqual([before]);
    expect(shadow.activeElement).toBe(button);
  });

  it("dispatches each change", async () => {
    const { element, events, clock } = await place([integration("1")]);
    await clock.advance(5_000);
    expect(events).toEqual(["kombo-integrations"]);
    expect(element.integrations?.map(({ id }) => id)).toEqual(["1"]);
  });

  it("stops when it is removed, and starts again when it is back", async () => {
    const { element, backend, clock } = await place([integration("1")]);
    element.remove();
    const sent = backend.calls.length;
    await clock.advance(60_000);
    expect(backend.calls).toHaveLength(sent);
    document.body.append(element);
    await settled();
    expect(backend.calls).toHaveLength(sent + 1);
  });

  it("does not treat a name as markup", async () => {
    const { names, shadow } = await place([
      integration("1", { tool_label: "<img src=x onerror=alert(1)>", organization_name: "<b>" }),
    ]);
    expect(names()).toEqual(["<img src=x onerror=alert(1)>"]);
    expect(shadow.querySelector("img, b")).toBeNull();
  });

  it("loads a logo from the web only", async () => {
    const { shadow } = await place([
      integration("1", { logo_url: "https://logos.example/x.svg" }),
      integration("2", { logo_url: "javascript:alert(1)" }),
      integration("3", { logo_url: "data:image/svg+xml,<svg/>" }),
    ]);
    expect([...shadow.querySelectorAll("img")].map(({ src }) => src)).toEqual([
      "https://logos.example/x.svg",
    ]);
  });
});

describe("the initials of a tool", () => {
  it.each([
    ["PayFit (customer)", "PC"],
    ["PayFit", "PF"],
    ["BambooHR", "BH"],
    ["Workday", "Wo"],
    ["a3innuva Nómina", "AN"],
    ["360Learning", "36"],
    ["(", "?"],
  ])("of %s are %s", (name, letters) => {
    expect(initials(name)).toBe(letters);
  });
});

describe("the search", () => {
  const eight = Array.from({ length: 8 }, (_, place) =>
    integration(`${place}`, {
      tool: `tool${place}`,
      organization_name: place === 3 ? "Société Générale" : "Acme",
    }),
  );

  it("is there from eight rows on", async () => {
    expect((await place(eight.slice(0, 7))).visible("search")).toBe(false);
    expect((await place(eight)).visible("search")).toBe(true);
  });

  it("finds names, organizations and categories, and announces how many", async () => {
    const { shadow, names, text, visible } = await place(eight);
    const search = shadow.querySelector<HTMLInputElement>("[data-testid=search]")!;
    const enter = (value: string) => {
      search.value = value;
      search.dispatchEvent(new Event("input"));
    };
    enter(" TOOL5 ");
    expect(names()).toEqual(["Tool5"]);
    expect(text("live")).toBe("1 / 8");
    enter("generale hris");
    expect(names()).toEqual(["Tool3"]);
    enter("nothing");
    expect(names()).toEqual([]);
    expect(text("not-found")).toBe("Nothing found.");
    expect(text("live")).toBe("Nothing found.");
    enter("");
    expect(names()).toHaveLength(8);
    expect(visible("not-found")).toBe(false);
  });
});

describe("an integration that needs the end user", () => {
  it.each([
    ["reconnect", "relink", "Reconnect"],
    ["finish_setup", "setup-link", "Finish setup"],
  ])("has a button for %s", async (next, path, label) => {
    const { backend, element, shadow, events, text } = await place([
      integration("int_1", { next_action: next }),
    ]);
    element.options = { ...element.options, showKomboConnect: finishing };
    await settled();
    backend.on(`POST integrations/int_1/${path}`, () =>
      json(200, { link: LINK, expires_at: "2099-01-01T00:00:00Z" }),
    );
    const button = shadow.querySelector<HTMLButtonElement>(`[data-testid=${next.replace("_", "-")}]`)!;
    expect(button.textContent).toBe(label);
    expect(button.ariaLabel).toBe(`${label} Personio`);
    button.click();
    await settled();
    expect(backend.last(`POST integrations/int_1/${path}`).body).toEqual({ language: "en" });
    expect(backend.count("POST completions")).toBe(1);
    expect(events).toContain("kombo-connected");
    expect(text("live")).toBe("Personio is connected");
  });

  it("shows in its row that a flow failed, and dispatches an event", async () => {
    const { backend, all, text, events } = await place([integration("int_1", { next_action: "reconnect" })]);
    backend.on("POST integrations/int_1/relink", problem(503, "kombo_unavailable"));
    all("reconnect")[0]!.click();
    await settled();
    expect(text("error")).toBe("That did not work. Please try again.");
    expect(events).toContain("kombo-failed");
    expect(all("reconnect")[0]!.ariaDisabled).toBe("false");
  });

  it("shows to contact support if trying again cannot help", async () => {
    const { backend, all, text } = await place([integration("int_1", { next_action: "finish_setup" })]);
    backend.on("POST integrations/int_1/setup-link", problem(409, "setup_not_available"));
    all("finish-setup")[0]!.click();
    await settled();
    expect(text("error")).toBe("This does not work at the moment. Please contact support.");
  });

  it("is busy while its flow is open, and starts no other", async () => {
    const { backend, sdk, all } = await place([integration("int_1", { next_action: "reconnect" })]);
    backend.on("POST integrations/int_1/relink", () =>
      json(200, { link: LINK, expires_at: "2099-01-01T00:00:00Z" }),
    );
    all("reconnect")[0]!.click();
    all("reconnect")[0]!.click();
    await sdk.open();
    expect(all("reconnect")[0]!.ariaDisabled).toBe("true");
    await sdk.fail("KomboConnectCancelledError");
    expect(all("reconnect")[0]!.ariaDisabled).toBe("false");
    expect(backend.count("POST integrations/int_1/relink")).toBe(1);
  });
});

describe("the menu of a row", () => {
  const labels = (placed: Awaited<ReturnType<typeof place>>) => {
    placed.all("row-menu")[0]!.click();
    return [...placed.shadow.querySelectorAll("[role=menuitem]")].map((item) => item.textContent);
  };

  it("has details, and what the end user may do", async () => {
    expect(labels(await place([PERSONIO]))).toEqual(["Details", "Reconnect", "Disconnect"]);
    expect(labels(await place([PERSONIO], { actions: [] }))).toEqual(["Details", "Reconnect"]);
    expect(labels(await place([integration("1", { next_action: "reconnect" })]))).toEqual([
      "Details",
      "Disconnect",
    ]);
  });

  it("is walked with the arrow keys", async () => {
    const placed = await place([PERSONIO]);
    labels(placed);
    const press = (key: string) => {
      const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
      placed.shadow.activeElement!.dispatchEvent(event);
      return event.defaultPrevented;
    };
    const focused = () => placed.shadow.activeElement?.textContent;
    expect(focused()).toBe("Details");
    for (const [key, label] of [
      ["ArrowDown", "Reconnect"],
      ["End", "Disconnect"],
      ["ArrowDown", "Details"],
      ["ArrowUp", "Disconnect"],
      ["Home", "Details"],
    ] as const) {
      expect(press(key)).toBe(true);
      expect(focused()).toBe(label);
    }
    press("Tab");
    expect(placed.all("row-menu")[0]!.ariaExpanded).toBe("false");
  });

  it("shows details in the row, and hides them again", async () => {
    const placed = await place([PERSONIO]);
    for (const shown of [true, false]) {
      labels(placed);
      placed.all("details")[0]!.click();
      expect(placed.visible("details")).toBe(shown);
    }
    labels(placed);
    placed.all("details")[0]!.click();
    expect([...placed.shadow.querySelectorAll("dt")].map((term) => term.textContent)).toEqual([
      "Organization",
      "Added",
      "Last change",
      "Reference",
    ]);
    expect([...placed.shadow.querySelectorAll("dd")].at(-1)!.textContent).toBe("int_1");
  });

  async function askToDisconnect(reply: Response | Error) {
    const placed = await place([PERSONIO]);
    placed.backend.on("DELETE integrations/int_1", reply);
    labels(placed);
    placed.all("disconnect")[0]!.click();
    return placed;
  }

  it("asks before it disconnects", async () => {
    const placed = await askToDisconnect(new Response(null, { status: 204 }));
    expect(placed.shadow.querySelector("dialog h2")!.textContent).toBe("Disconnect Personio?");
    expect(placed.shadow.activeElement?.textContent).toBe("Cancel");
    (placed.shadow.activeElement as HTMLElement).click();
    await settled();
    expect(placed.backend.count("DELETE integrations/int_1")).toBe(0);
    expect(placed.names()).toEqual(["Personio"]);
  });

  it("disconnects after a confirmation, and says so", async () => {
    const placed = await askToDisconnect(new Response(null, { status: 204 }));
    const [confirm] = placed.all("confirm-disconnect");
    confirm!.click();
    confirm!.click();
    await settled();
    expect(placed.backend.count("DELETE integrations/int_1")).toBe(1);
    expect(placed.text("live")).toBe("Personio was disconnected.");
    expect(placed.events).toContain("kombo-disconnected");
  });

  it("keeps the question open with an error if that fails", async () => {
    const placed = await askToDisconnect(unreachable);
    placed.all("confirm-disconnect")[0]!.click();
    await settled();
    expect(placed.shadow.querySelector("dialog [role=alert]")!.textContent).toBe(
      "That did not work. Please try again.",
    );
    expect(placed.names()).toEqual(["Personio"]);
  });

  it("counts an integration that is gone already as disconnected", async () => {
    const placed = await askToDisconnect(problem(404, "integration_not_found"));
    placed.all("confirm-disconnect")[0]!.click();
    await settled();
    expect(placed.text("live")).toBe("Personio was disconnected.");
  });
});

describe("the state of the list", () => {
  it("is loading until the first response", async () => {
    const placed = placeElement(page());
    expect(placed.text("loading")).toBe("Loading…");
    expect(placed.visible("loading")).toBe(true);
    await settled();
    expect(placed.visible("loading")).toBe(false);
  });

  it("is empty without integrations, with the page's own content if it has one", async () => {
    const { shadow } = await place([]);
    const slot = shadow.querySelector<HTMLSlotElement>("slot[name=empty]")!;
    expect([slot.hidden, slot.textContent]).toEqual([false, "No tools connected yet."]);
  });

  it("is an error with another attempt if the list cannot be loaded", async () => {
    const surroundings = page();
    surroundings.backend.on("GET integrations", unreachable, json(200, { integrations: [PERSONIO] }));
    const placed = placeElement(surroundings);
    await settled();
    const notice = placed.shadow.querySelector("[part=notice]")!;
    expect([notice.role, placed.text("notice")]).toEqual([
      "alert",
      "The list cannot be updated now.Try again",
    ]);
    placed.shadow.querySelector<HTMLElement>("[part=retry]")!.click();
    await settled();
    expect(placed.names()).toEqual(["Personio"]);
    expect(placed.visible("notice")).toBe(false);
  });

  it("keeps the rows while the list cannot be updated", async () => {
    const { backend, clock, names, visible } = await place([PERSONIO]);
    backend.on(
      "GET integrations",
      problem(503, "store_unavailable"),
      json(200, { integrations: [PERSONIO] }),
    );
    await clock.advance(5_000);
    expect([names(), visible("notice")]).toEqual([["Personio"], true]);
    await clock.advance(10_000);
    expect(visible("notice")).toBe(false);
  });

  it("asks an end user who is signed out to sign in", async () => {
    const surroundings = page();
    surroundings.backend.on("GET integrations", problem(401, "unauthenticated"));
    const placed = placeElement(surroundings);
    await settled();
    expect(placed.text("notice")).toBe("Please sign in.Try again");
  });
});

describe("the language", () => {
  it.each(LANGUAGES)("is that of the attribute: %s", async (language) => {
    const { text, shadow } = await place([integration("1", { next_action: "reconnect" })], {
      attributes: { language },
    });
    const english = await place([integration("1", { next_action: "reconnect" })], {
      attributes: { language: "en" },
    });
    const list = shadow.querySelector("ul")!.ariaLabel;
    expect(text("attention")).toMatch(/^1 /);
    if (language !== "en") expect(list).not.toBe(english.shadow.querySelector("ul")!.ariaLabel);
  });

  it("is that of the page around, or English", async () => {
    document.documentElement.lang = "it-CH";
    expect((await place([PERSONIO])).text("status")).toBe("Collegato");
    document.documentElement.lang = "pt";
    expect((await place([PERSONIO])).text("status")).toBe("Connected");
  });
});
