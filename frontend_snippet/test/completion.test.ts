import { afterEach, describe, expect, it } from "vitest";
import { connect, finishPending } from "../src/index.js";
import {
  finishing,
  forbiddenStorage,
  json,
  LINK,
  page,
  PERSONIO,
  problem,
  settled,
  silence,
  TOKEN,
  unreachable,
} from "./fakes.js";

const KEY = "kombo-embed.pending";
const recorded = json(201, { integration: PERSONIO });

let pages = 0;

/** A page whose end user has just finished, with a token of its own. */
function finishedPage() {
  const surroundings = page();
  const token = `${TOKEN}-${(pages += 1)}`;
  const start = () => connect({ ...surroundings.options, showKomboConnect: () => Promise.resolve(token) });
  return { ...surroundings, start };
}

/** A page whose predecessor left a pending completion. */
function pageWithPending({ token = TOKEN, ageSeconds = 5 } = {}) {
  const surroundings = page();
  const { storage, clock, backend } = surroundings;
  const keptAt = clock.now() - ageSeconds * 1000;
  storage.setItem(KEY, JSON.stringify([{ endpoint: backend.endpoint, activationToken: token, keptAt }]));
  return surroundings;
}

describe("a completion", () => {
  it.each([
    ["the network fails", unreachable],
    ["the network is too slow for its body (408)", problem(408, "body_too_slow")],
    ["the backend limits the rate (429)", problem(429, "rate_limited")],
    ["the backend fails (502)", problem(502, "kombo_invalid_response")],
    ["the backend is unavailable (503)", problem(503, "kombo_unavailable")],
    ["a proxy times out (504)", new Response("<html>", { status: 504 })],
  ])("is retried with backoff while %s", async (_why, failure) => {
    const { backend, clock, start } = finishedPage();
    backend.on("POST completions", failure, failure, recorded);
    const result = start();
    await clock.advance(1_000);
    expect(backend.count("POST completions")).toBe(2);
    await clock.advance(2_000);
    expect(await result).toEqual({ status: "connected", integration: PERSONIO, first: true });
    expect(backend.count("POST completions")).toBe(3);
  });

  it("respects Retry-After", async () => {
    const { backend, clock, start } = finishedPage();
    const limited = problem(429, "rate_limited", {}, { "Retry-After": "30" });
    backend.on("POST completions", limited, recorded);
    const result = start();
    await clock.advance(29_999);
    expect(backend.count("POST completions")).toBe(1);
    await clock.advance(1);
    expect(await result).toMatchObject({ status: "connected" });
  });

  it("is retried after a timeout", async () => {
    const { backend, clock, start } = finishedPage();
    backend.on("POST completions", silence, recorded);
    const result = start();
    await clock.advance(21_000);
    expect(await result).toMatchObject({ status: "connected" });
  });

  it("fails after five attempts, and stays pending for the next page", async () => {
    const { backend, clock, storage, start } = finishedPage();
    backend.on("POST completions", unreachable);
    const result = expect(start()).rejects.toMatchObject({ code: "network" });
    await clock.advance(60_000);
    await result;
    expect(backend.count("POST completions")).toBe(5);
    expect(storage.getItem(KEY)).toContain(TOKEN);
  });

  it("fails at once if Retry-After exceeds a minute", async () => {
    const { backend, storage, start } = finishedPage();
    backend.on("POST completions", problem(503, "kombo_rate_limited", {}, { "Retry-After": "120" }));
    await expect(start()).rejects.toMatchObject({ code: "kombo_rate_limited", retryAfter: 120 });
    expect(storage.getItem(KEY)).toContain(TOKEN);
  });

  it("that is rejected is neither retried nor kept", async () => {
    const { backend, storage, start } = finishedPage();
    backend.on("POST completions", problem(422, "activation_rejected"));
    await expect(start()).rejects.toMatchObject({ code: "activation_rejected", status: 422 });
    expect(backend.count("POST completions")).toBe(1);
    expect(storage.items.size).toBe(0);
  });

  it.each([
    [401, "unauthenticated"],
    [500, "identity_error"],
  ])("that fails with %i is not retried but kept", async (status, code) => {
    const { backend, storage, start } = finishedPage();
    backend.on("POST completions", problem(status, code));
    await expect(start()).rejects.toMatchObject({ code });
    expect(backend.count("POST completions")).toBe(1);
    expect(storage.getItem(KEY)).toContain(TOKEN);
  });

  it("calls the headers function for each attempt, since a bearer token may expire in between", async () => {
    const { backend, clock, options } = page();
    backend.on("POST completions", unreachable, recorded);
    let asked = 0;
    const headers = () => ({ Authorization: `Bearer ${(asked += 1)}` });
    const result = connect({ ...options, headers, showKomboConnect: finishing });
    await clock.advance(1_000);
    await result;
    const sent = backend.sent.map((request) => request.headers.get("Authorization"));
    expect(sent).toEqual(["Bearer 1", "Bearer 2", "Bearer 3"]);
  });

  it("is stored while its request is in progress, and removed after the response", async () => {
    const { backend, storage, start } = finishedPage();
    let answer = (_response: Response): void => {};
    backend.on("POST completions", () => new Promise((resolve) => (answer = resolve)));
    const result = start();
    await settled();
    expect(storage.getItem(KEY)).toContain(TOKEN);
    answer(recorded.clone());
    await result;
    expect(storage.items.size).toBe(0);
  });

  it("does not need a storage", async () => {
    const { backend, options } = page();
    const result = await connect({ ...options, storage: forbiddenStorage, showKomboConnect: finishing });
    expect(result.status).toBe("connected");
    expect(backend.count("POST completions")).toBe(1);
  });

  it("uses the browser's sessionStorage by default", async () => {
    const { backend, options } = page();
    backend.on("POST completions", problem(401, "unauthenticated"));
    const withoutStorage = { ...options, storage: undefined, showKomboConnect: finishing };
    await expect(connect(withoutStorage)).rejects.toMatchObject({ code: "unauthenticated" });
    expect(sessionStorage.getItem(KEY)).toContain(TOKEN);
    sessionStorage.clear();
  });
});

describe("a completion without a network", () => {
  const offline = (is: boolean) =>
    Object.defineProperty(navigator, "onLine", { value: !is, configurable: true });

  afterEach(() => offline(false));

  it("waits for the network while the token is valid, and is sent at once when the network is back", async () => {
    const { backend, clock, start } = finishedPage();
    backend.on("POST completions", unreachable, unreachable, recorded);
    offline(true);
    const result = start();
    await clock.advance(5 * 60_000);
    expect(backend.count("POST completions")).toBe(1);
    offline(false);
    window.dispatchEvent(new Event("online"));
    await clock.advance(1_000);
    expect(await result).toMatchObject({ status: "connected" });
    expect(backend.count("POST completions")).toBe(3);
  });

  it("fails when the token is too old", async () => {
    const { backend, clock, start } = finishedPage();
    backend.on("POST completions", unreachable);
    offline(true);
    const result = expect(start()).rejects.toMatchObject({ code: "network" });
    await clock.advance(15 * 60_000);
    await result;
  });

  it("that failed is sent when the network is back", async () => {
    const { backend, clock, storage, start } = finishedPage();
    backend.on("POST completions", unreachable);
    const result = expect(start()).rejects.toMatchObject({ code: "network" });
    await clock.advance(60_000);
    await result;
    backend.on("POST completions", recorded);
    window.dispatchEvent(new Event("online"));
    await settled();
    expect(backend.count("POST completions")).toBe(6);
    expect(storage.items.size).toBe(0);
  });

  it("is sent once more when the page goes away", async () => {
    const { backend, start } = finishedPage();
    backend.on("POST completions", unreachable, recorded);
    const result = start();
    await settled();
    window.dispatchEvent(new Event("pagehide"));
    await settled();
    expect(await result).toMatchObject({ status: "connected" });
    expect(backend.last("POST completions").init.keepalive).toBe(true);
  });

  it.each([true, false])(
    "that failed is sent when the page comes back from the back/forward cache: %s",
    async (persisted) => {
      const { backend, start } = finishedPage();
      backend.on("POST completions", problem(401, "unauthenticated"), recorded);
      await expect(start()).rejects.toMatchObject({ code: "unauthenticated" });
      window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted }));
      await settled();
      expect(backend.count("POST completions")).toBe(persisted ? 2 : 1);
    },
  );
});

describe("finishPending", () => {
  it("sends the pending completions of an earlier page, once", async () => {
    const { backend, storage, options } = pageWithPending();
    expect(await finishPending(options)).toEqual([PERSONIO]);
    expect(backend.last("POST completions").body).toEqual({ activation_token: TOKEN });
    expect(storage.items.size).toBe(0);
    expect(await finishPending(options)).toEqual([]);
    expect(backend.calls).toEqual(["POST completions"]);
  });

  it("sends no request if nothing is pending", async () => {
    const { backend, options } = page();
    expect(await finishPending(options)).toEqual([]);
    expect(backend.calls).toEqual([]);
  });

  it("does not need a storage", async () => {
    expect(await finishPending({ ...page().options, storage: forbiddenStorage })).toEqual([]);
  });

  it("retries, and keeps what could not be sent", async () => {
    const { backend, clock, storage, options } = pageWithPending();
    backend.on("POST completions", unreachable);
    const found = finishPending(options);
    await clock.advance(60_000);
    expect(await found).toEqual([]);
    expect(backend.count("POST completions")).toBe(5);
    expect(storage.getItem(KEY)).toContain(TOKEN);
  });

  it("removes what is rejected", async () => {
    const { backend, storage, options } = pageWithPending();
    backend.on("POST completions", problem(422, "activation_rejected"));
    expect(await finishPending(options)).toEqual([]);
    expect(storage.items.size).toBe(0);
  });

  it("does not renew a token by an attempt", async () => {
    const { backend, clock, options } = pageWithPending({ ageSeconds: 590 });
    backend.on("POST completions", problem(401, "unauthenticated"));
    await finishPending(options);
    await clock.advance(11_000);
    expect(await finishPending(options)).toEqual([]);
    expect(backend.count("POST completions")).toBe(1);
  });

  it("ignores tokens older than ten minutes", async () => {
    const { backend, options } = pageWithPending({ ageSeconds: 601 });
    expect(await finishPending(options)).toEqual([]);
    expect(backend.calls).toEqual([]);
  });

  it("ignores the tokens of another backend", async () => {
    const { clock, storage, options } = pageWithPending();
    const other = page();
    expect(await finishPending({ ...other.options, clock, storage })).toEqual([]);
    expect(other.backend.calls).toEqual([]);
    expect(await finishPending(options)).toEqual([PERSONIO]);
  });

  it("ignores a token whose request is in progress", async () => {
    const { backend, options, start } = finishedPage();
    let answer = (_response: Response): void => {};
    backend.on("POST completions", () => new Promise((resolve) => (answer = resolve)));
    const result = start();
    await settled();
    expect(await finishPending(options)).toEqual([]);
    expect(backend.count("POST completions")).toBe(1);
    answer(recorded.clone());
    await result;
  });

  it.each(["not json", "{}", '[{"endpoint":1}]', "[null]"])("ignores a stored %s", async (stored) => {
    const { storage, options } = page();
    storage.setItem(KEY, stored);
    expect(await finishPending(options)).toEqual([]);
  });
});

describe("the next connect", () => {
  it("sends the pending completions before it requests a link", async () => {
    const { backend, sdk, options } = pageWithPending({ token: "left" });
    const result = connect(options);
    await sdk.finish();
    await result;
    expect(backend.calls).toEqual(["POST completions", "POST links", "POST completions"]);
    expect(backend.sent[0]?.body).toEqual({ activation_token: "left" });
  });

  it("waits for that five seconds at most, and loses neither token", async () => {
    const { backend, clock, storage, options } = pageWithPending({ token: "left" });
    backend.on("POST completions", silence, problem(401, "unauthenticated"));
    const result = connect({ ...options, showKomboConnect: finishing }).catch(() => {});
    await clock.advance(5_000);
    await result;
    expect(backend.calls).toEqual(["POST completions", "POST links", "POST completions"]);
    expect(storage.getItem(KEY)).toContain("left");
    expect(storage.getItem(KEY)).toContain(TOKEN);
  });

  it("requests no link if the caller aborted meanwhile", async () => {
    const { backend, options } = pageWithPending();
    const controller = new AbortController();
    backend.on("POST completions", () => {
      controller.abort();
      return recorded.clone();
    });
    const result = connect({ ...options, signal: controller.signal });
    await expect(result).rejects.toMatchObject({ code: "aborted" });
    await settled();
    expect(backend.calls).toEqual(["POST completions"]);
  });

  it("does not retry them while the end user waits for the dialog", async () => {
    const { backend, options } = pageWithPending();
    backend.on("POST completions", unreachable, recorded);
    backend.on("POST links", json(200, { link: LINK, expires_at: "" }));
    await connect({ ...options, showKomboConnect: () => Promise.resolve("") });
    expect(backend.calls).toEqual(["POST completions", "POST links"]);
  });
});
