import { afterEach, describe, expect, it, vi } from "vitest";
import { connect, KomboEmbedError } from "../src/index.js";
import type { ConnectResult } from "../src/index.js";
import {
  finishing,
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

afterEach(() => {
  vi.unstubAllGlobals();
  document.body.replaceChildren();
});

describe("connect", () => {
  it("requests a link, opens the dialog, and sends the completion", async () => {
    const { backend, sdk, options } = page();

    const result = connect(options);
    await sdk.finish();

    expect(await result).toEqual({ status: "connected", integration: PERSONIO, first: true });
    expect(sdk.opened.map(({ link }) => link)).toEqual([LINK]);
    expect(backend.calls).toEqual(["POST links", "POST completions"]);
    expect(backend.last("POST completions").body).toEqual({ activation_token: TOKEN });
  });

  it("leaves no timer", async () => {
    const { clock, options } = page();
    await connect({ ...options, showKomboConnect: finishing });
    expect(clock.waiting).toBe(0);
  });

  it("lets the completion outlive the page", async () => {
    const { backend, options } = page();
    await connect({ ...options, showKomboConnect: finishing });
    expect(backend.last("POST completions").init.keepalive).toBe(true);
    expect(backend.last("POST links").init.keepalive).toBe(false);
  });

  it("reports that the integration was recorded before", async () => {
    const { backend, options } = page();
    backend.on("POST completions", json(200, { integration: PERSONIO }));
    const result = await connect({ ...options, showKomboConnect: finishing });
    expect(result).toMatchObject({ status: "connected", first: false });
  });

  it("sends no option that the page did not give", async () => {
    const { backend, options } = page();
    await connect({ ...options, fresh: false, showKomboConnect: finishing });
    expect(backend.last("POST links").body).toEqual({});
  });

  it("sends the category, tool, language and `fresh` of the page", async () => {
    const { backend, options } = page();
    const chosen = { category: "ATS", tool: "greenhouse", language: "de", fresh: true } as const;
    await connect({ ...options, ...chosen, showKomboConnect: finishing });
    expect(backend.last("POST links").body).toEqual({
      integration_category: "ATS",
      integration_tool: "greenhouse",
      language: "de",
      fresh: true,
    });
  });

  it("opens the dialog in the page's container", async () => {
    const { sdk, options } = page();
    const container = document.body.appendChild(document.createElement("div"));
    const result = connect({ ...options, container });
    await sdk.open();
    expect(container.contains(sdk.opened[0]?.container ?? null)).toBe(true);
    await sdk.finish();
    await result;
    expect(container.childElementCount).toBe(0);
  });

  it("requests no link for a container that is not in the document", async () => {
    const { backend, options } = page();
    const result = connect({ ...options, container: document.createElement("div") });
    await expect(result).rejects.toMatchObject({ code: "dialog_failed" });
    expect(backend.calls).toEqual([]);
  });

  it("rejects if the endpoint is not a URL", async () => {
    await expect(connect({ ...page().options, endpoint: "http://" })).rejects.toThrow(TypeError);
  });
});

describe("an end user who closes the dialog", () => {
  it("is a result, not an error, and no completion is sent", async () => {
    const { backend, sdk, options } = page();
    const result = connect(options);
    await sdk.fail("KomboConnectCancelledError");
    expect(await result).toEqual({ status: "cancelled" });
    expect(backend.calls).toEqual(["POST links"]);
  });

  it("can open it again", async () => {
    const { sdk, options } = page();
    const first = connect(options);
    await sdk.fail("KomboConnectCancelledError");
    await first;
    const second = connect(options);
    await sdk.finish();
    expect(await second).toMatchObject({ status: "connected" });
  });
});

describe("a link that was opened and closed twice", () => {
  async function openAndClose({ sdk, options }: ReturnType<typeof page>): Promise<void> {
    const result = connect(options);
    await sdk.fail("KomboConnectCancelledError");
    await result;
  }

  it("may have expired at Kombo, so the third call requests a fresh one", async () => {
    const surroundings = page();
    const { backend, sdk } = surroundings;
    const fresh = "https://connect.kombo.dev/v1?token=fresh";
    for (let time = 0; time < 2; time += 1) await openAndClose(surroundings);
    expect(backend.sent.map(({ body }) => body)).toEqual([{}, {}]);
    backend.on("POST links", json(200, { link: LINK }), json(200, { link: fresh }));
    await openAndClose(surroundings);
    expect(backend.sent.slice(2).map(({ body }) => body)).toEqual([{}, { fresh: true }]);
    expect(sdk.opened.map(({ link }) => link)).toEqual([LINK, LINK, fresh]);
    backend.on("POST links", json(200, { link: fresh }));
    await openAndClose(surroundings);
    expect(backend.calls).toHaveLength(5);
  });
});

describe("the phase of a flow", () => {
  it("is reported to the call that started it and to those that joined", async () => {
    const { sdk, options } = page();
    const [first, second]: string[][] = [[], []];
    const result = connect({ ...options, onPhase: (phase) => first!.push(phase) });
    await sdk.open();
    const joined = connect({ ...options, onPhase: (phase) => second!.push(phase) });
    await sdk.finish();
    await Promise.all([result, joined]);
    expect(first).toEqual(["loading", "open", "recording"]);
    expect(second).toEqual(["open", "recording"]);
  });
});

describe("a flow that ends without an activation token", () => {
  it.each([undefined, null, ""])(
    "has the result `finished`, and no completion is sent (%j)",
    async (token) => {
      const { backend, options } = page();
      const result = await connect({ ...options, showKomboConnect: () => Promise.resolve(token) });
      expect(result).toEqual({ status: "finished" });
      expect(backend.calls).toEqual(["POST links"]);
    },
  );
});

describe("a link that must not be opened", () => {
  const dangerous = [
    "http://connect.kombo.dev/v1",
    "http://127.0.0.1.evil.example/",
    "http://localhost.evil.example/",
    "javascript:alert(1)",
    "data:text/html,hello",
    "/relative",
    "not a link",
  ];

  it.each(dangerous)("never reaches the SDK: %s", async (link) => {
    const { backend, sdk, options } = page();
    backend.on("POST links", json(200, { link, expires_at: "" }));
    await expect(connect(options)).rejects.toMatchObject({ code: "invalid_link" });
    expect(sdk.opened).toEqual([]);
  });

  it.each(["http://localhost:8001/c", "http://127.0.0.1:8001/c", "http://[::1]:8001/c"])(
    "does not include those of the local sandbox: %s",
    async (link) => {
      const { backend, options } = page();
      backend.on("POST links", json(200, { link, expires_at: "" }));
      const result = await connect({ ...options, showKomboConnect: finishing });
      expect(result.status).toBe("connected");
    },
  );

  it("does not include one of a sandbox elsewhere, for a page that is itself on plain http", async () => {
    const { backend, options } = page();
    backend.on("POST links", json(200, { link: "http://sandbox:8001/c", expires_at: "" }));
    vi.stubGlobal("location", new URL("http://app.internal:8000/settings"));
    const result = await connect({ ...options, showKomboConnect: finishing });
    expect(result.status).toBe("connected");
  });

  it.each(["https://app.example.com/", "http://localhost:3000/"])(
    "includes one of a sandbox elsewhere for any other page: %s",
    async (address) => {
      const { backend, options } = page();
      backend.on("POST links", json(200, { link: "http://sandbox:8001/c", expires_at: "" }));
      vi.stubGlobal("location", new URL(address));
      await expect(connect(options)).rejects.toMatchObject({ code: "invalid_link" });
    },
  );

  it.each<unknown>([{}, { link: "" }, { link: 7 }, [], null, "text"])("is missing from %j", async (body) => {
    const { backend, options } = page();
    backend.on("POST links", json(200, body));
    await expect(connect(options)).rejects.toMatchObject({ code: "invalid_response" });
  });
});

describe("calling connect again while the dialog is open", () => {
  it("returns the same promise, with one request and one dialog", async () => {
    const { backend, sdk, options } = page();
    const first = connect({ ...options, tool: "personio" });
    const second = connect({ ...options, tool: "personio" });
    await sdk.finish();
    expect(second).toBe(first);
    await first;
    expect(sdk.opened).toHaveLength(1);
    expect(backend.count("POST links")).toBe(1);
  });

  it("is rejected if the options differ", async () => {
    const { backend, sdk, options } = page();
    const container = document.body.appendChild(document.createElement("div"));
    const first = connect(options);
    for (const other of [{ tool: "workday" }, { language: "de" }, { endpoint: "/other" }, { container }]) {
      await expect(connect({ ...options, ...other })).rejects.toMatchObject({ code: "already_open" });
    }
    await sdk.finish();
    await first;
    expect(backend.count("POST links")).toBe(1);
  });

  it("is possible again after a failure", async () => {
    const { backend, options } = page();
    backend.on("POST links", problem(503, "kombo_unavailable"));
    await expect(connect(options)).rejects.toMatchObject({ code: "kombo_unavailable" });
    backend.on("POST links", json(200, { link: LINK, expires_at: "" }));
    await expect(connect({ ...options, showKomboConnect: finishing })).resolves.toMatchObject({
      first: true,
    });
  });

  it("is rejected if other code has opened Kombo's dialog", async () => {
    const { sdk, options } = page();
    const result = expect(connect(options)).rejects.toMatchObject({ code: "already_open" });
    await sdk.fail("KomboConnectAlreadyOpenError");
    await result;
  });
});

describe("a signal", () => {
  it("that was aborted before prevents every request", async () => {
    const { backend, options } = page();
    const result = connect({ ...options, signal: AbortSignal.abort() });
    await expect(result).rejects.toMatchObject({ code: "aborted" });
    expect(backend.calls).toEqual([]);
  });

  it("aborts the request for the link", async () => {
    const { backend, sdk, options } = page();
    backend.on("POST links", silence);
    const controller = new AbortController();
    const result = expect(connect({ ...options, signal: controller.signal })).rejects.toMatchObject({
      code: "aborted",
    });
    await settled();
    controller.abort();
    await result;
    expect(backend.last("POST links").init.signal?.aborted).toBe(true);
    expect(sdk.opened).toEqual([]);
  });

  it("ends only the wait once the dialog is open: the completion is still recorded", async () => {
    const { backend, sdk, options } = page();
    const controller = new AbortController();
    const result = expect(connect({ ...options, signal: controller.signal })).rejects.toMatchObject({
      code: "aborted",
    });
    await sdk.open();
    controller.abort();
    await result;
    const again = connect(options);
    await sdk.finish();
    expect(await again).toMatchObject({ status: "connected" });
    expect(backend.calls).toEqual(["POST links", "POST completions"]);
  });

  it("of a call that joined does not end the flow of the others", async () => {
    const { sdk, options } = page();
    const controller = new AbortController();
    const first = connect(options);
    const second = expect(connect({ ...options, signal: controller.signal })).rejects.toMatchObject({
      code: "aborted",
    });
    controller.abort();
    await second;
    const third = connect({ ...options, signal: controller.signal });
    await expect(third).rejects.toMatchObject({ code: "aborted" });
    await sdk.finish();
    expect(await first).toMatchObject({ status: "connected" });
  });

  it("that is never aborted changes nothing", async () => {
    const { options } = page();
    const { signal } = new AbortController();
    const result = await connect({ ...options, signal, showKomboConnect: finishing });
    expect(result.status).toBe("connected");
  });
});

describe("a tool that is connected already", () => {
  const conflict = () => problem(409, "already_connected", { integration: PERSONIO });

  async function connectTwice(): Promise<
    [Extract<ConnectResult, { status: "already_connected" }>, ReturnType<typeof page>]
  > {
    const surroundings = page();
    surroundings.backend.on("POST links", conflict);
    const result = await connect({ ...surroundings.options, tool: "personio", language: "de" });
    if (result.status !== "already_connected") throw new Error(result.status);
    return [result, surroundings];
  }

  it("is a result with the integration, and opens no dialog", async () => {
    const [result, { sdk }] = await connectTwice();
    expect(result.integration).toEqual(PERSONIO);
    expect(sdk.opened).toEqual([]);
  });

  it("can be reconnected from the result, with the options of the first call", async () => {
    const [result, { backend, sdk }] = await connectTwice();
    backend.on("POST integrations/int_1/relink", json(200, { link: LINK, expires_at: "" }));
    backend.on("POST completions", json(200, { integration: PERSONIO }));
    const renewed = result.reconnect();
    await sdk.finish();
    expect(await renewed).toEqual({ status: "connected", integration: PERSONIO, first: false });
    expect(backend.last("POST integrations/int_1/relink").body).toEqual({ language: "de" });
  });

  it("can be reconnected with other options", async () => {
    const [result, { backend, sdk }] = await connectTwice();
    backend.on("POST integrations/int_1/relink", json(200, { link: LINK, expires_at: "" }));
    const renewed = result.reconnect({ language: "fr" });
    await sdk.fail("KomboConnectCancelledError");
    expect(await renewed).toEqual({ status: "cancelled" });
    expect(backend.last("POST integrations/int_1/relink").body).toEqual({ language: "fr" });
  });

  it("is an error if the response has no integration", async () => {
    const { backend, options } = page();
    backend.on("POST links", problem(409, "already_connected"));
    await expect(connect(options)).rejects.toMatchObject({ code: "already_connected", status: 409 });
  });
});

describe("what connect throws", () => {
  it("is always a KomboEmbedError with the backend's code, status, and detail for developers", async () => {
    const { backend, options } = page();
    const errors = [{ field: "integration_tool", reason: "not allowed" }];
    backend.on("POST links", problem(422, "invalid_request", { errors }));
    const error = await connect(options).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(KomboEmbedError);
    expect(error).toMatchObject({
      name: "KomboEmbedError",
      code: "invalid_request",
      status: 422,
      detail: "This does not work at the moment. Please contact support.",
      message: "A detail.",
      errors,
    });
  });

  it("is `network` if the backend cannot be reached", async () => {
    const { backend, options } = page();
    backend.on("POST links", unreachable);
    await expect(connect(options)).rejects.toMatchObject({ code: "network", status: undefined });
  });

  it("is `network` if there is no response for 20 seconds", async () => {
    const { backend, clock, options } = page();
    backend.on("POST links", silence);
    const result = expect(connect(options)).rejects.toMatchObject({ code: "network" });
    await clock.advance(20_000);
    await result;
  });

  it("is `invalid_response` for a completion that cannot be parsed", async () => {
    const { backend, options } = page();
    backend.on("POST completions", json(201, { integration: { id: "int_1" } }));
    const result = connect({ ...options, showKomboConnect: finishing });
    await expect(result).rejects.toMatchObject({ code: "invalid_response" });
  });

  it("is `dialog_failed`, with our own message, for other errors of the SDK", async () => {
    const { sdk, options } = page();
    const result = connect(options).catch((thrown: unknown) => thrown);
    await sdk.fail("TypeError", `Invalid URL: ${LINK}`);
    const error = await result;
    expect(error).toMatchObject({ code: "dialog_failed" });
    expect(`${String(error)} ${JSON.stringify(error)}`).not.toContain("link-secret");
  });

  it("is `dialog_failed` for a rejection that is not an Error", async () => {
    const { options } = page();
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the case under test
    const showKomboConnect = () => Promise.reject("no");
    const result = connect({ ...options, showKomboConnect });
    await expect(result).rejects.toMatchObject({ code: "dialog_failed" });
  });
});
