import { afterEach, describe, expect, it } from "vitest";
import { connect, watch } from "../src/index.js";
import type { Integration, KomboEmbedError, WatchOptions } from "../src/index.js";
import { finishing, json, page, PERSONIO, problem, settled, TOKEN, unreachable } from "./fakes.js";

const ENDED: Integration = { ...PERSONIO, status: "INVALID", next_action: "reconnect" };
const unchanged = new Response(null, { status: 304 });
const list = (integrations: Integration[], etag: string): Response =>
  json(200, { integrations }, { ETag: etag });

const stops: (() => void)[] = [];

afterEach(() => {
  for (const stop of stops.splice(0)) stop();
  show("visible");
  goOnline(true);
});

/** A page that watches, with what it was told. */
function watching(surroundings = page(), more: WatchOptions = {}) {
  const told: Integration[][] = [];
  const errors: KomboEmbedError[] = [];
  const onError = (error: KomboEmbedError) => void errors.push(error);
  const stop = watch((integrations) => void told.push(integrations), {
    ...surroundings.options,
    onError,
    ...more,
  });
  stops.push(stop);
  const asked = () => surroundings.backend.count("GET integrations");
  return { ...surroundings, told, errors, stop, asked };
}

function show(visibilityState: DocumentVisibilityState): void {
  Object.defineProperty(document, "visibilityState", { configurable: true, get: () => visibilityState });
  document.dispatchEvent(new Event("visibilitychange"));
}

function goOnline(onLine: boolean): void {
  Object.defineProperty(navigator, "onLine", { configurable: true, get: () => onLine });
  window.dispatchEvent(new Event(onLine ? "online" : "offline"));
}

/** A request that the test answers. */
function held() {
  let answer = (_response: Response): void => {};
  const reply = () => new Promise<Response>((resolve) => (answer = resolve));
  return { reply, answer: (response: Response) => answer(response) };
}

describe("watch", () => {
  it("tells the list first, and then only when it changes", async () => {
    const surroundings = page();
    surroundings.backend.on(
      "GET integrations",
      list([PERSONIO], '"1"'),
      unchanged,
      list([ENDED], '"2"'),
      unchanged,
    );
    const { clock, told, asked } = watching(surroundings);
    await settled();
    expect(told).toEqual([[PERSONIO]]);
    await clock.advance(5_000);
    expect(asked()).toBe(2);
    expect(told).toHaveLength(1);
    await clock.advance(5_000);
    expect(told).toEqual([[PERSONIO], [ENDED]]);
  });

  it("tells an empty list too", async () => {
    const surroundings = page();
    surroundings.backend.on("GET integrations", list([], '"0"'));
    const { told } = watching(surroundings);
    await settled();
    expect(told).toEqual([[]]);
  });

  it("asks only for what is newer than it has", async () => {
    const surroundings = page();
    surroundings.backend.on("GET integrations", list([PERSONIO], '"1"'), unchanged);
    const { backend, clock } = watching(surroundings);
    await clock.advance(10_000);
    expect(backend.sent.map(({ headers }) => headers.get("If-None-Match"))).toEqual([null, '"1"', '"1"']);
  });

  it("tells no change where there is none, even without an ETag", async () => {
    const { clock, told, asked } = watching();
    await clock.advance(10_000);
    expect(asked()).toBe(3);
    expect(told).toHaveLength(1);
  });

  it("asks as often as the page wants", async () => {
    const { clock, asked } = watching(page(), { intervalSeconds: 30 });
    await clock.advance(29_999);
    expect(asked()).toBe(1);
    await clock.advance(1);
    expect(asked()).toBe(2);
  });

  it("survives a callback that fails", async () => {
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

  it("never asks twice at a time", async () => {
    const surroundings = page();
    const first = held();
    surroundings.backend.on("GET integrations", first.reply);
    const { clock, asked } = watching(surroundings);
    await clock.advance(10_000);
    show("visible");
    goOnline(true);
    await settled();
    expect(asked()).toBe(1);
  });
});

describe("after a flow of this page, watch", () => {
  it("asks at once, and every two seconds for a minute", async () => {
    const surroundings = page();
    const { clock, options, asked } = watching(surroundings);
    await settled();
    await connect({ ...options, showKomboConnect: finishing });
    await settled();
    expect(asked()).toBe(2);
    await clock.advance(58_000);
    expect(asked()).toBe(31);
    await clock.advance(12_000);
    expect(asked()).toBe(34);
  });

  it("asks as often as the page wants", async () => {
    const surroundings = page();
    const { clock, options, asked } = watching(surroundings, { intervalAfterFlowSeconds: 10 });
    await connect({ ...options, showKomboConnect: finishing });
    await settled();
    const before = asked();
    await clock.advance(10_000);
    expect(asked()).toBe(before + 1);
  });

  it("asks once more if the answer under way may be older than the flow", async () => {
    const surroundings = page();
    const first = held();
    surroundings.backend.on("GET integrations", first.reply, list([PERSONIO], '"1"'));
    const { options, told, asked } = watching(surroundings);
    await settled();
    await connect({ ...options, showKomboConnect: finishing });
    expect(asked()).toBe(1);
    first.answer(list([], '"0"'));
    await settled();
    expect(told).toEqual([[], [PERSONIO]]);
  });

  it("asks at once after a flow without an activation token", async () => {
    const { options, asked } = watching();
    await settled();
    await connect({ ...options, showKomboConnect: () => Promise.resolve("") });
    await settled();
    expect(asked()).toBe(2);
  });
});

describe("while the backend fails, watch", () => {
  it("asks more and more rarely, up to a minute, and recovers", async () => {
    const surroundings = page();
    surroundings.backend.on("GET integrations", unreachable);
    const { backend, clock, errors, told, asked } = watching(surroundings);
    await settled();
    for (const seconds of [10, 20, 40, 60, 60]) {
      const before = asked();
      await clock.advance(seconds * 1000 - 1);
      expect(asked()).toBe(before);
      await clock.advance(1);
      expect(asked()).toBe(before + 1);
    }
    expect(errors.map(({ code }) => code)).toEqual(Array(6).fill("network"));
    backend.on("GET integrations", list([PERSONIO], '"1"'));
    await clock.advance(60_000);
    expect(told).toEqual([[PERSONIO]]);
    const before = asked();
    await clock.advance(5_000);
    expect(asked()).toBe(before + 1);
  });

  it("does not ask before the backend wants it, whatever happens", async () => {
    const surroundings = page();
    const limited = problem(429, "rate_limited", {}, { "Retry-After": "90" });
    surroundings.backend.on("GET integrations", limited, list([PERSONIO], '"1"'));
    const { clock, asked } = watching(surroundings);
    await settled();
    show("hidden");
    show("visible");
    await clock.advance(89_999);
    expect(asked()).toBe(1);
    await clock.advance(1);
    expect(asked()).toBe(2);
  });

  it("stops when nobody is signed in any more, and says so", async () => {
    const surroundings = page();
    surroundings.backend.on("GET integrations", list([PERSONIO], '"1"'), problem(401, "unauthenticated"));
    const { clock, errors, asked } = watching(surroundings);
    await clock.advance(600_000);
    show("visible");
    await settled();
    expect(asked()).toBe(2);
    expect(errors).toMatchObject([{ code: "unauthenticated", status: 401 }]);
  });

  it("needs no onError", async () => {
    const surroundings = page();
    surroundings.backend.on("GET integrations", unreachable);
    const { clock, asked } = watching(surroundings, { onError: undefined });
    await clock.advance(10_000);
    expect(asked()).toBe(2);
  });

  it("takes an unreadable list for a failure", async () => {
    const surroundings = page();
    surroundings.backend.on("GET integrations", json(200, {}));
    const { errors, told } = watching(surroundings);
    await settled();
    expect(errors).toMatchObject([{ code: "invalid_response" }]);
    expect(told).toEqual([]);
  });
});

describe("a page that nobody looks at", () => {
  it("asks nothing while it is hidden, and at once when it is shown again", async () => {
    const { clock, asked } = watching();
    await settled();
    show("hidden");
    await clock.advance(60_000);
    expect(asked()).toBe(1);
    show("visible");
    await settled();
    expect(asked()).toBe(2);
  });

  it("that was opened in the background asks when it is first shown", async () => {
    show("hidden");
    const { asked } = watching();
    await settled();
    expect(asked()).toBe(0);
    show("visible");
    await settled();
    expect(asked()).toBe(1);
  });

  it("asks nothing while it is offline, and at once when it is online again", async () => {
    const { clock, asked } = watching();
    await settled();
    goOnline(false);
    await clock.advance(60_000);
    expect(asked()).toBe(1);
    goOnline(true);
    await settled();
    expect(asked()).toBe(2);
  });

  it("ends its request when it is left, and asks anew when the browser brings it back", async () => {
    const surroundings = page();
    const first = held();
    surroundings.backend.on("GET integrations", first.reply, list([PERSONIO], '"1"'));
    const { backend, clock, told, errors, asked } = watching(surroundings);
    await settled();
    window.dispatchEvent(new Event("pagehide"));
    await clock.advance(60_000);
    expect(backend.sent[0]?.init.signal?.aborted).toBe(true);
    expect(asked()).toBe(1);
    window.dispatchEvent(new Event("pageshow"));
    await settled();
    expect(asked()).toBe(2);
    expect(told).toEqual([[PERSONIO]]);
    expect(errors).toEqual([]);
    await clock.advance(5_000);
    expect(asked()).toBe(3);
  });

  it("is not asked twice for being shown for the first time", async () => {
    const { asked } = watching();
    await settled();
    window.dispatchEvent(new Event("pageshow"));
    await settled();
    expect(asked()).toBe(1);
  });
});

describe("a watch that has been stopped", () => {
  it("asks and tells nothing more", async () => {
    const surroundings = page();
    const first = held();
    surroundings.backend.on("GET integrations", first.reply);
    const { backend, clock, options, stop, told, errors, asked } = watching(surroundings);
    await settled();
    stop();
    first.answer(list([PERSONIO], '"1"'));
    show("visible");
    await connect({ ...options, showKomboConnect: finishing });
    await clock.advance(60_000);
    expect(backend.sent[0]?.init.signal?.aborted).toBe(true);
    expect([told, errors, asked()]).toEqual([[], [], 1]);
  });

  it("may be stopped by a signal", async () => {
    const controller = new AbortController();
    const { clock, asked } = watching(page(), { signal: controller.signal });
    await settled();
    controller.abort();
    await clock.advance(60_000);
    expect(asked()).toBe(1);
  });

  it("never begins when its signal was aborted before", async () => {
    const { clock, asked } = watching(page(), { signal: AbortSignal.abort() });
    await clock.advance(60_000);
    expect(asked()).toBe(0);
  });
});

describe("the first watch of a page", () => {
  it("sends what a page that went away has left, once, and asks anew when that is recorded", async () => {
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
