import { afterEach, describe, expect, it } from "vitest";
import { connect, watch } from "../src/index.js";
import type { Integration, KomboEmbedError, WatchOptions } from "../src/index.js";
import { finishing, json, page, PERSONIO, problem, settled, TOKEN, unreachable } from "./fakes.js";

const INVALID: Integration = { ...PERSONIO, status: "INVALID", next_action: "reconnect" };
const unchanged = new Response(null, { status: 304 });
const list = (integrations: Integration[], etag: string): Response =>
  json(200, { integrations }, { ETag: etag });

const stops: (() => void)[] = [];

afterEach(() => {
  for (const stop of stops.splice(0)) stop();
  show("visible");
  goOnline(true);
});

/** A page that watches, and the lists that the callback received. */
function watching(surroundings = page(), more: WatchOptions = {}) {
  const lists: Integration[][] = [];
  const errors: KomboEmbedError[] = [];
  const onError = (error: KomboEmbedError) => void errors.push(error);
  const stop = watch((integrations) => void lists.push(integrations), {
    ...surroundings.options,
    onError,
    ...more,
  });
  stops.push(stop);
  const requests = () => surroundings.backend.count("GET integrations");
  return { ...surroundings, lists, errors, stop, requests };
}

function show(visibilityState: DocumentVisibilityState): void {
  Object.defineProperty(document, "visibilityState", { configurable: true, get: () => visibilityState });
  document.dispatchEvent(new Event("visibilitychange"));
}

function goOnline(onLine: boolean): void {
  Object.defineProperty(navigator, "onLine", { configurable: true, get: () => onLine });
  window.dispatchEvent(new Event(onLine ? "online" : "offline"));
}

/** A request that the test responds to. */
function held() {
  let answer = (_response: Response): void => {};
  const reply = () => new Promise<Response>((resolve) => (answer = resolve));
  return { reply, answer: (response: Response) => answer(response) };
}

describe("a tool with the name of a property of every object", () => {
  it.each(["constructor", "__proto__", "toString", "hasOwnProperty"])("%s is a tool", async (tool) => {
    const integration: Integration = { ...PERSONIO, id: tool, tool };
    const { backend, options } = page();
    backend.on("POST links", problem(409, "already_connected", { integration }));
    expect(await connect({ ...options, tool, language: tool })).toMatchObject({
      status: "already_connected",
      integration,
    });
    const surroundings = page();
    surroundings.backend.on("GET integrations", list([integration], '"1"'), unchanged);
    const { lists } = watching(surroundings);
    await settled();
    expect(lists).toEqual([[integration]]);
  });
});

describe("watch", () => {
  it("reports the list at the start, and then every change", async () => {
    const surroundings = page();
    surroundings.backend.on(
      "GET integrations",
      list([PERSONIO], '"1"'),
      unchanged,
      list([INVALID], '"2"'),
      unchanged,
    );
    const { clock, lists, requests } = watching(surroundings);
    await settled();
    expect(lists).toEqual([[PERSONIO]]);
    await clock.advance(5_000);
    expect(requests()).toBe(2);
    expect(lists).toHaveLength(1);
    await clock.advance(5_000);
    expect(lists).toEqual([[PERSONIO], [INVALID]]);
  });

  it("reports an empty list too", async () => {
    const surroundings = page();
    surroundings.backend.on("GET integrations", list([], '"0"'));
    const { lists } = watching(surroundings);
    await settled();
    expect(lists).toEqual([[]]);
  });

  it("sends the ETag of the last list", async () => {
    const surroundings = page();
    surroundings.backend.on("GET integrations", list([PERSONIO], '"1"'), unchanged);
    const { backend, clock } = watching(surroundings);
    await clock.advance(10_000);
    expect(backend.sent.map(({ headers }) => headers.get("If-None-Match"))).toEqual([null, '"1"', '"1"']);
  });

  it("reports no change if there is none, even without an ETag", async () => {
    const { clock, lists, requests } = watching();
    await clock.advance(10_000);
    expect(requests()).toBe(3);
    expect(lists).toHaveLength(1);
  });

  it("polls at the interval of the options", async () => {
    const { clock, requests } = watching(page(), { intervalSeconds: 30 });
    await clock.advance(29_999);
    expect(requests()).toBe(1);
    await clock.advance(1);
    expect(requests()).toBe(2);
  });

  it("goes on after a callback that throws", async () => {
    const surroundings = page();
    const reported: unknown[] = [];
    const original = globalThis.queueMicrotask;
    globalThis.queueMicrotask = (act) =>
      original(() => {
        try {
          act();
        } catch (error) {
          reported.push(error);
        }
      });
    const failing = () => {
      throw new Error("the page's own");
    };
    stops.push(watch(failing, surroundings.options));
    await surroundings.clock.advance(5_000);
    globalThis.queueMicrotask = original;
    expect(reported).toHaveLength(1);
    expect(surroundings.backend.count("GET integrations")).toBe(2);
  });

  it("sends one request at a time", async () => {
    const surroundings = page();
    const first = held();
    surroundings.backend.on("GET integrations", first.reply);
    const { clock, requests } = watching(surroundings);
    await clock.advance(10_000);
    show("visible");
    goOnline(true);
    await settled();
    expect(requests()).toBe(1);
  });
});

describe("after a flow of this page, watch", () => {
  it("polls at once, and every two seconds for a minute", async () => {
    const surroundings = page();
    const { clock, options, requests } = watching(surroundings);
    await settled();
    await connect({ ...options, showKomboConnect: finishing });
    await settled();
    expect(requests()).toBe(2);
    await clock.advance(58_000);
    expect(requests()).toBe(31);
    await clock.advance(12_000);
    expect(requests()).toBe(34);
  });

  it("polls at the interval of the options", async () => {
    const surroundings = page();
    const { clock, options, requests } = watching(surroundings, { intervalAfterFlowSeconds: 10 });
    await connect({ ...options, showKomboConnect: finishing });
    await settled();
    const before = requests();
    await clock.advance(10_000);
    expect(requests()).toBe(before + 1);
  });

  it("polls again if the response in progress may be older than the flow", async () => {
    const surroundings = page();
    const first = held();
    surroundings.backend.on("GET integrations", first.reply, list([PERSONIO], '"1"'));
    const { options, lists, requests } = watching(surroundings);
    await settled();
    await connect({ ...options, showKomboConnect: finishing });
    expect(requests()).toBe(1);
    first.answer(list([], '"0"'));
    await settled();
    expect(lists).toEqual([[], [PERSONIO]]);
  });

  it("polls at once after a flow without an activation token", async () => {
    const { options, requests } = watching();
    await settled();
    await connect({ ...options, showKomboConnect: () => Promise.resolve("") });
    await settled();
    expect(requests()).toBe(2);
  });
});

describe("while the backend fails, watch", () => {
  it("backs off up to a minute, and recovers", async () => {
    const surroundings = page();
    surroundings.backend.on("GET integrations", unreachable);
    const { backend, clock, errors, lists, requests } = watching(surroundings);
    await settled();
    for (const seconds of [10, 20, 40, 60, 60]) {
      const before = requests();
      await clock.advance(seconds * 1000 - 1);
      expect(requests()).toBe(before);
      await clock.advance(1);
      expect(requests()).toBe(before + 1);
    }
    expect(errors.map(({ code }) => code)).toEqual(Array(6).fill("network"));
    backend.on("GET integrations", list([PERSONIO], '"1"'));
    await clock.advance(60_000);
    expect(lists).toEqual([[PERSONIO]]);
    const before = requests();
    await clock.advance(5_000);
    expect(requests()).toBe(before + 1);
  });

  it("respects Retry-After, also when the page becomes visible", async () => {
    const surroundings = page();
    const limited = problem(429, "rate_limited", {}, { "Retry-After": "90" });
    surroundings.backend.on("GET integrations", limited, list([PERSONIO], '"1"'));
    const { clock, requests } = watching(surroundings);
    await settled();
    show("hidden");
    show("visible");
    await clock.advance(89_999);
    expect(requests()).toBe(1);
    await clock.advance(1);
    expect(requests()).toBe(2);
  });

  it("stops when the end user is not signed in any more, and reports it", async () => {
    const surroundings = page();
    surroundings.backend.on("GET integrations", list([PERSONIO], '"1"'), problem(401, "unauthenticated"));
    const { clock, errors, requests } = watching(surroundings);
    await clock.advance(600_000);
    show("visible");
    await settled();
    expect(requests()).toBe(2);
    expect(errors).toMatchObject([{ code: "unauthenticated", status: 401 }]);
  });

  it("needs no onError", async () => {
    const surroundings = page();
    surroundings.backend.on("GET integrations", unreachable);
    const { clock, requests } = watching(surroundings, { onError: undefined });
    await clock.advance(10_000);
    expect(requests()).toBe(2);
  });

  it("treats a malformed list as a failure", async () => {
    const surroundings = page();
    surroundings.backend.on("GET integrations", json(200, {}));
    const { errors, lists } = watching(surroundings);
    await settled();
    expect(errors).toMatchObject([{ code: "invalid_response" }]);
    expect(lists).toEqual([]);
  });
});

describe("a page that is hidden, offline or left", () => {
  it("does not poll while it is hidden, and polls at once when it is visible again", async () => {
    const { clock, requests } = watching();
    await settled();
    show("hidden");
    await clock.advance(60_000);
    expect(requests()).toBe(1);
    show("visible");
    await settled();
    expect(requests()).toBe(2);
  });

  it("that was opened in the background polls when it first becomes visible", async () => {
    show("hidden");
    const { requests } = watching();
    await settled();
    expect(requests()).toBe(0);
    show("visible");
    await settled();
    expect(requests()).toBe(1);
  });

  it("does not poll while it is offline, and polls at once when it is online again", async () => {
    const { clock, requests } = watching();
    await settled();
    goOnline(false);
    await clock.advance(60_000);
    expect(requests()).toBe(1);
    goOnline(true);
    await settled();
    expect(requests()).toBe(2);
  });

  it("aborts its request when it is left, and polls when it comes back from the cache", async () => {
    const surroundings = page();
    const first = held();
    surroundings.backend.on("GET integrations", first.reply, list([PERSONIO], '"1"'));
    const { backend, clock, lists, errors, requests } = watching(surroundings);
    await settled();
    window.dispatchEvent(new Event("pagehide"));
    await clock.advance(60_000);
    expect(backend.sent[0]?.init.signal?.aborted).toBe(true);
    expect(requests()).toBe(1);
    window.dispatchEvent(new Event("pageshow"));
    await settled();
    expect(requests()).toBe(2);
    expect(lists).toEqual([[PERSONIO]]);
    expect(errors).toEqual([]);
    await clock.advance(5_000);
    expect(requests()).toBe(3);
  });

  it("does not poll twice because of its first pageshow event", async () => {
    const { requests } = watching();
    await settled();
    window.dispatchEvent(new Event("pageshow"));
    await settled();
    expect(requests()).toBe(1);
  });
});

describe("a stopped watch", () => {
  it("sends and reports nothing more", async () => {
    const surroundings = page();
    const first = held();
    surroundings.backend.on("GET integrations", first.reply);
    const { backend, clock, options, stop, lists, errors, requests } = watching(surroundings);
    await settled();
    stop();
    first.answer(list([PERSONIO], '"1"'));
    show("visible");
    await connect({ ...options, showKomboConnect: finishing });
    await clock.advance(60_000);
    expect(backend.sent[0]?.init.signal?.aborted).toBe(true);
    expect([lists, errors, requests()]).toEqual([[], [], 1]);
  });

  it("can be stopped by a signal", async () => {
    const controller = new AbortController();
    const { clock, requests } = watching(page(), { signal: controller.signal });
    await settled();
    controller.abort();
    await clock.advance(60_000);
    expect(requests()).toBe(1);
  });

  it("never starts if its signal was aborted before", async () => {
    const { clock, requests } = watching(page(), { signal: AbortSignal.abort() });
    await clock.advance(60_000);
    expect(requests()).toBe(0);
  });
});

describe("the first watch of a page", () => {
  it("sends the pending completions of an earlier page, once, and polls when they are recorded", async () => {
    const surroundings = page();
    const { backend, clock, storage } = surroundings;
    const left = [{ endpoint: backend.endpoint, activationToken: TOKEN, keptAt: clock.now() }];
    storage.setItem("kombo-embed.pending", JSON.stringify(left));
    watching(surroundings);
    await settled();
    expect(backend.count("POST completions")).toBe(1);
    expect(backend.count("GET integrations")).toBe(2);
    storage.setItem("kombo-embed.pending", JSON.stringify(left));
    watching(surroundings);
    await settled();
    expect(backend.count("POST completions")).toBe(1);
  });
});
