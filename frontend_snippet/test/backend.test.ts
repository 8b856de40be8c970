import { describe, expect, it } from "vitest";
import { endpointOf } from "../src/backend.js";
import { KomboEmbedError } from "../src/errors.js";
import { listIntegrations } from "../src/index.js";
import { json, page, PERSONIO, problem, settled, silence } from "./fakes.js";

describe("a request to the backend", () => {
  it("returns the list of integrations", async () => {
    const { backend, options } = page();
    expect(await listIntegrations(options)).toEqual([PERSONIO]);
    expect(backend.calls).toEqual(["GET integrations"]);
    expect(backend.sent[0]?.headers.get("Accept")).toBe("application/json");
    expect(backend.sent[0]?.headers.has("Content-Type")).toBe(false);
  });

  it("sends the session cookie to the same origin", async () => {
    const { backend, options } = page();
    await listIntegrations(options);
    expect(backend.sent[0]?.init.credentials).toBe("same-origin");
  });

  it("sends the session cookie to another origin", async () => {
    const { backend, options } = page();
    const endpoint = "https://api.example.com/kombo/";
    backend.on(`GET https://api.example.com/kombo/integrations`, json(200, { integrations: [] }));
    await listIntegrations({ ...options, endpoint });
    expect(backend.sent[0]?.init.credentials).toBe("include");
  });

  it.each(["omit", "same-origin", "include"] as const)(
    "sends cookies according to the `credentials` option: %s",
    async (credentials) => {
      const { backend, options } = page();
      await listIntegrations({ ...options, credentials });
      expect(backend.sent[0]?.init.credentials).toBe(credentials);
    },
  );

  it.each([
    ["an object", { Authorization: "Bearer 1" }],
    ["a function", () => ({ Authorization: "Bearer 1" })],
    ["an asynchronous function", async () => new Headers({ Authorization: "Bearer 1" })],
  ])("sends the page's headers, given as %s", async (_form, headers) => {
    const { backend, options } = page();
    await listIntegrations({ ...options, headers });
    expect(backend.sent[0]?.headers.get("Authorization")).toBe("Bearer 1");
  });

  it("is not sent if the headers function fails", async () => {
    const { backend, options } = page();
    const cause = new Error("the login has ended");
    const headers = () => Promise.reject(cause);
    await expect(listIntegrations({ ...options, headers })).rejects.toMatchObject({
      code: "headers_failed",
      cause,
    });
    expect(backend.calls).toEqual([]);
  });

  it("times out if the headers function never resolves", async () => {
    const { clock, options } = page();
    const headers = () => new Promise<HeadersInit>(() => {});
    const result = expect(listIntegrations({ ...options, headers })).rejects.toMatchObject({
      code: "network",
    });
    await clock.advance(20_000);
    await result;
  });

  it("is aborted by the caller's signal", async () => {
    const { backend, options } = page();
    backend.on("GET integrations", silence);
    const controller = new AbortController();
    const { signal } = controller;
    const result = expect(listIntegrations({ ...options, signal })).rejects.toMatchObject({
      code: "aborted",
    });
    await settled();
    controller.abort();
    await result;
  });

  it("uses the browser's fetch by default", async () => {
    const { options } = page();
    const original = globalThis.fetch;
    globalThis.fetch = async () => json(200, { integrations: [] });
    try {
      expect(await listIntegrations({ ...options, fetch: undefined, clock: undefined })).toEqual([]);
    } finally {
      globalThis.fetch = original;
    }
  });
});

describe("a response of the backend", () => {
  it.each([{}, { integrations: {} }, { integrations: [{ id: "" }] }, null])(
    "without a list is invalid: %j",
    async (body) => {
      const { backend, options } = page();
      backend.on("GET integrations", json(200, body));
      await expect(listIntegrations(options)).rejects.toMatchObject({ code: "invalid_response" });
    },
  );

  it("with an HTML page is invalid", async () => {
    const { backend, options } = page();
    backend.on("GET integrations", new Response("<h1>Sign in</h1>"));
    await expect(listIntegrations(options)).rejects.toMatchObject({ code: "invalid_response" });
  });

  it("from a proxy, without a code, is an error with its status", async () => {
    const { backend, options } = page();
    backend.on("GET integrations", new Response("<h1>Bad gateway</h1>", { status: 502 }));
    await expect(listIntegrations(options)).rejects.toMatchObject({
      code: "invalid_response",
      status: 502,
      message: "The backend answered 502.",
    });
  });

  it.each([
    ["en", "kombo_unavailable", "That did not work. Please try again."],
    ["de", "kombo_unavailable", "Das hat nicht geklappt. Bitte erneut versuchen."],
    ["fr-CH", "kombo_rejected", "Cela ne fonctionne pas pour le moment. Contactez le support."],
    ["it", "kombo_rejected", "Al momento non funziona. Contatta l’assistenza."],
    ["es", "kombo_timeout", "No ha funcionado. Inténtelo de nuevo."],
    ["pt", "kombo_rejected", "This does not work at the moment. Please contact support."],
    ["de", "forbidden", "Only admins may connect tools."],
  ])("says in the language of the page (%s) what to do: %s", async (language, code, detail) => {
    const { backend, options } = page();
    document.documentElement.lang = language;
    backend.on("GET integrations", problem(503, code, { detail: "Only admins may connect tools." }));
    await expect(listIntegrations(options)).rejects.toMatchObject({ code, detail });
    document.documentElement.lang = "";
  });

  // Codes of docs/errors.md and of this module; what the host refuses is in the host's own words.
  const CODES =
    "unauthenticated cross_origin identity_error identity_unavailable invalid_request body_too_slow already_connected " +
    "setup_not_available integration_not_found activation_rejected rate_limited store_unavailable kombo_rate_limited " +
    "kombo_unavailable kombo_timeout kombo_rejected kombo_invalid_response configuration not_found method_not_allowed " +
    "webhooks_not_configured network invalid_link invalid_response already_open aborted headers_failed dialog_failed " +
    "dialog_blocked dialog_timeout a_new_code";

  it.each(["en", "de", "fr", "it", "es"])(
    "says in plain words of the language what to do: %s",
    (language) => {
      document.documentElement.lang = language;
      const texts = CODES.split(" ").map((code) => {
        const status = code === "unauthenticated" ? 401 : undefined;
        return new KomboEmbedError(code, { detail: "A detail for developers.", status }).detail;
      });
      document.documentElement.lang = "";
      expect(new Set(texts).size).toBe(3); // sign in, try again, contact support
      for (const text of texts) expect(text).not.toMatch(/developers|kombo|\blog\b|reach|api|server/i);
    },
  );

  it("names the tool that is connected already", () => {
    const details = { detail: "personio is already connected.", status: 409, integration: PERSONIO };
    expect(new KomboEmbedError("already_connected", details).detail).toBe("Personio is connected already.");
  });

  it("without a detail is an error with its title", async () => {
    const { backend, options } = page();
    backend.on("GET integrations", problem(403, "forbidden", { detail: undefined }));
    await expect(listIntegrations(options)).rejects.toMatchObject({ code: "forbidden", detail: "A title" });
  });

  it("with malformed field errors is still parsed", async () => {
    const { backend, options } = page();
    backend.on("GET integrations", problem(422, "invalid_request", { errors: [7, { field: "language" }] }));
    await expect(listIntegrations(options)).rejects.toMatchObject({
      errors: [
        { field: "", reason: "" },
        { field: "language", reason: "" },
      ],
    });
  });

  it("with Retry-After, in either form, is an error with the seconds", async () => {
    const { backend, clock, options } = page();
    const date = new Date(clock.now() + 90_000).toUTCString();
    const past = new Date(clock.now() - 90_000).toUTCString();
    const cases: [string, number | undefined][] = [
      ["7", 7],
      [date, 90],
      [past, 0],
      ["soon", undefined],
      [" ", undefined],
    ];
    for (const [value, retryAfter] of cases) {
      backend.on("GET integrations", problem(503, "kombo_unavailable", {}, { "Retry-After": value }));
      await expect(listIntegrations(options)).rejects.toMatchObject({ retryAfter });
    }
  });
});

describe("the endpoint", () => {
  it.each([
    ["https://app.example.com/kombo/kombo-embed.js", "https://app.example.com/kombo"],
    ["http://localhost:8000/a/b/kombo-embed.js?v=1", "http://localhost:8000/a/b"],
    ["https://app.example.com/kombo-embed.js", "https://app.example.com"],
    ["https://app.example.com/assets/index-4f2a.js", "/kombo"],
    ["file:///srv/kombo-embed.js", "/kombo"],
  ])("of a module at %s is %s", (moduleUrl, endpoint) => {
    expect(endpointOf(moduleUrl)).toBe(endpoint);
  });

  it.each(["/there", "/there/", "http://localhost:3000/there//"])("may be given as %s", async (endpoint) => {
    const { backend, options } = page();
    await listIntegrations({ ...options, endpoint }).catch(() => {});
    expect(backend.sent[0]?.url).toBe("http://localhost:3000/there/integrations");
  });

  it("is /kombo in the page's own bundle", async () => {
    const { backend, options } = page();
    await listIntegrations({ ...options, endpoint: undefined }).catch(() => {});
    expect(backend.sent[0]?.url).toBe("http://localhost:3000/kombo/integrations");
  });
});
