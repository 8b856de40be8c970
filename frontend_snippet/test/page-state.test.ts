// Two copies of the module in one page, such as a bundle's and the served one.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type * as Module from "../src/index.js";
import {
  finishing,
  json,
  LINK,
  page,
  PAGE_STATE,
  PERSONIO,
  problem,
  settled,
  TOKEN,
  unreachable,
} from "./fakes.js";

let first: typeof Module;
let second: typeof Module;

async function loadCopy(): Promise<typeof Module> {
  vi.resetModules();
  return import("../src/index.js");
}

beforeEach(async () => {
  [first, second] = [await loadCopy(), await loadCopy()];
  expect(first.connect).not.toBe(second.connect);
});

/** A page whose predecessor left pending completions. */
function pageWithPending(...tokens: string[]) {
  const surroundings = page();
  const { backend, clock, storage } = surroundings;
  const { endpoint } = backend;
  const pending = tokens.map((activationToken) => ({ endpoint, activationToken, keptAt: clock.now() }));
  storage.setItem("kombo-embed.pending", JSON.stringify(pending));
  return { ...surroundings, tokens: () => backend.sent.map(({ body }) => body) };
}

/** A reply that waits until the test gives it. */
function held() {
  let give = (_response: Response): void => {};
  const reply = () => new Promise<Response>((resolve) => (give = resolve));
  return { reply, give: (response: Response) => give(response) };
}

describe("a flow that one copy opened", () => {
  it("is joined by the same call of the other copy", async () => {
    const { backend, sdk, options } = page();
    const phases: string[] = [];
    const opened = first.connect({ ...options, tool: "personio" });
    await sdk.open();
    const joined = second.connect({
      ...options,
      tool: "personio",
      onPhase: (phase) => phases.push(phase),
    });
    await sdk.finish();
    expect(await joined).toEqual({ status: "connected", integration: PERSONIO, first: true });
    expect(await opened).toBe(await joined);
    expect(phases).toEqual(["open", "recording"]);
    expect(backend.calls).toEqual(["POST links", "POST completions"]);
    expect(sdk.opened).toHaveLength(1);
  });

  it("makes the other copy reject other calls until it is closed", async () => {
    const { backend, sdk, options } = page();
    const opened = first.connect(options);
    await sdk.open();
    for (const call of [
      second.connect({ ...options, tool: "workday" }),
      second.reconnect("int_1", options),
    ]) {
      await expect(call).rejects.toMatchObject({ code: "already_open" });
    }
    await sdk.fail("KomboConnectCancelledError");
    expect(await opened).toEqual({ status: "cancelled" });
    const next = await second.connect({ ...options, showKomboConnect: finishing });
    expect(next.status).toBe("connected");
    expect(backend.count("POST links")).toBe(2);
  });

  it("fails in the other copy with an error that both recognize", async () => {
    const { backend, options } = page();
    backend.on("POST links", problem(503, "kombo_unavailable"));
    const opened = first.connect(options).catch((error: unknown) => error);
    const joined = second.connect(options).catch((error: unknown) => error);
    expect(await joined).toBe(await opened);
    expect(await joined).toBeInstanceOf(first.KomboEmbedError);
    expect(await joined).toBeInstanceOf(second.KomboEmbedError);
    expect(new TypeError("no URL")).not.toBeInstanceOf(first.KomboEmbedError);
  });

  it("counts for the link that was closed twice", async () => {
    const { backend, sdk, options } = page();
    for (const copy of [first, second, first]) {
      const result = copy.connect(options);
      await sdk.fail("KomboConnectCancelledError");
      await result;
    }
    expect(backend.sent.map(({ body }) => body)).toEqual([{}, {}, {}, { fresh: true }]);
  });
});

describe("a pending completion", () => {
  it("is sent once by two copies at the same time", async () => {
    const { backend, options } = pageWithPending(TOKEN);
    const results = await Promise.all([first.finishPending(options), second.finishPending(options)]);
    expect(results).toEqual([[PERSONIO], []]);
    expect(backend.calls).toEqual(["POST completions"]);
  });

  it("is not sent again by a copy that listed it before the other one sent it", async () => {
    const { backend, options, tokens } = pageWithPending("one", "two");
    const one = held();
    backend.on("POST completions", one.reply, json(201, { integration: PERSONIO }));
    const slow = first.finishPending(options);
    await settled();
    expect(await second.finishPending(options)).toEqual([PERSONIO]);
    one.give(json(201, { integration: PERSONIO }));
    expect(await slow).toEqual([PERSONIO]);
    expect(tokens()).toEqual([{ activation_token: "one" }, { activation_token: "two" }]);
  });

  it("is not sent by one copy while the flow of the other copy sends it", async () => {
    const { backend, options } = page();
    const completion = held();
    backend.on("POST completions", completion.reply);
    const result = first.connect({ ...options, showKomboConnect: finishing });
    await settled();
    expect(await second.finishPending(options)).toEqual([]);
    completion.give(json(201, { integration: PERSONIO }));
    expect(await result).toMatchObject({ status: "connected" });
    expect(backend.count("POST completions")).toBe(1);
  });

  it("is retried once when the network comes back after both copies failed", async () => {
    const { backend, clock, options } = pageWithPending(TOKEN);
    backend.on("POST completions", unreachable);
    for (const copy of [first, second]) {
      const result = copy.finishPending(options);
      await clock.advance(60_000);
      expect(await result).toEqual([]);
    }
    const attempts = backend.count("POST completions");
    const completion = held();
    backend.on("POST completions", completion.reply);
    window.dispatchEvent(new Event("online"));
    await settled();
    completion.give(json(201, { integration: PERSONIO }));
    await settled();
    expect(backend.count("POST completions")).toBe(attempts + 1);
  });
});

describe("watches of two copies", () => {
  const stops: (() => void)[] = [];

  afterEach(() => {
    for (const stop of stops.splice(0)) stop();
  });

  it("send a pending completion once", async () => {
    const { backend, clock, options } = pageWithPending(TOKEN);
    backend.on("POST completions", problem(401, "unauthenticated"));
    for (const copy of [first, second]) stops.push(copy.watch(() => {}, options));
    await clock.advance(10_000);
    expect(backend.count("POST completions")).toBe(1);
  });

  it("poll at once, and more often for a minute, after a flow of the other copy", async () => {
    const { backend, clock, options } = page();
    stops.push(second.watch(() => {}, options));
    await settled();
    expect(backend.count("GET integrations")).toBe(1);
    await first.connect({ ...options, showKomboConnect: finishing });
    await settled();
    expect(backend.count("GET integrations")).toBe(2);
    await clock.advance(10_000);
    expect(backend.count("GET integrations")).toBe(7);
  });
});

describe("the state of a page", () => {
  it("does not exist before a call, so that a server can import the module", async () => {
    page();
    await loadCopy();
    expect(PAGE_STATE in globalThis).toBe(false);
  });

  it("gets the fields that another version of the module lacks, and keeps the others", async () => {
    const { sdk, options } = page();
    const older = { timesClosed: new Map([[LINK, 1]]), unknown: "kept" };
    Object.assign(globalThis, { [PAGE_STATE]: older });
    const result = first.connect(options);
    await sdk.fail("KomboConnectCancelledError");
    expect(await result).toEqual({ status: "cancelled" });
    expect(older.timesClosed.get(LINK)).toBe(2);
    expect(older).toMatchObject({ unknown: "kept", sending: new Set() });
  });
});
