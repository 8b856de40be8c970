// Warming up before the click: one request, no link, and nothing that the click depends on.
import { afterEach, describe, expect, it } from "vitest";
import { connect, prefetch } from "../src/index.js";
import "../src/element.js";
import { finishing, json, LINK, page, problem, settled, unreachable } from "./fakes.js";

const ORIGIN = "https://connect.kombo.dev";
const WARMED = { expires_at: "2099-01-01T00:00:00Z", link_origin: ORIGIN };

afterEach(() => {
  document.head.replaceChildren();
  document.body.replaceChildren();
});

const preconnected = () =>
  [...document.head.querySelectorAll<HTMLLinkElement>("link[rel=preconnect]")].map(
    ({ href }) => new URL(href).origin,
  );

function warm() {
  const surroundings = page();
  surroundings.backend.on("POST links", () => {
    const { prefetch: warming } = surroundings.backend.last("POST links").body as { prefetch?: boolean };
    return json(200, warming ? WARMED : { link: LINK, expires_at: WARMED.expires_at });
  });
  return surroundings;
}

describe("prefetch", () => {
  it("sends what `connect` would send, and connects to Kombo's origin", async () => {
    const { backend, options } = warm();
    await prefetch({ ...options, tool: "personio", category: "HRIS", language: "de" });
    expect(backend.last("POST links").body).toEqual({
      integration_category: "HRIS",
      integration_tool: "personio",
      language: "de",
      prefetch: true,
    });
    expect(preconnected()).toEqual([ORIGIN]);
  });

  it("does not replace the request of the click", async () => {
    const { backend, options } = warm();
    await prefetch(options);
    await connect({ ...options, showKomboConnect: finishing });
    expect(backend.sent.map(({ body }) => body).slice(0, 2)).toEqual([{ prefetch: true }, {}]);
  });

  it("is sent once for each choice, in five minutes", async () => {
    const { backend, clock, options } = warm();
    await Promise.all([prefetch(options), prefetch(options)]);
    await prefetch(options);
    await prefetch({ ...options, tool: "hibob" });
    expect(backend.count("POST links")).toBe(2);
    expect(preconnected()).toEqual([ORIGIN]);
    await clock.advance(5 * 60_000);
    await prefetch(options);
    expect(backend.count("POST links")).toBe(3);
  });

  it("is sent again after a flow, since the backend has invalidated its links", async () => {
    const { backend, options } = warm();
    await prefetch(options);
    await connect({ ...options, showKomboConnect: finishing });
    await prefetch(options);
    expect(backend.sent.filter(({ body }) => (body as { prefetch?: true }).prefetch)).toHaveLength(2);
  });

  it.each([
    ["the network fails", unreachable, 60_000],
    ["the end user is not signed in", problem(401, "unauthenticated"), 60_000],
    ["the tool is connected already", problem(409, "already_connected"), 60_000],
    ["the rate limit is reached", problem(429, "rate_limited", {}, { "Retry-After": "90" }), 90_000],
  ])("neither rejects nor repeats at once if %s", async (_, reply, pauseMs) => {
    const { backend, clock, options } = warm();
    backend.on("POST links", reply);
    await expect(prefetch(options)).resolves.toBeUndefined();
    await clock.advance(pauseMs - 1);
    await prefetch(options);
    expect(backend.count("POST links")).toBe(1);
    await clock.advance(1);
    await prefetch(options);
    expect(backend.count("POST links")).toBe(2);
    expect(preconnected()).toEqual([]);
  });

  it.each([
    {},
    { link_origin: "javascript:alert(1)" },
    { link_origin: "http://evil.example" },
    { link_origin: 1 },
  ])("connects to no origin that Kombo's page cannot have: %j", async (body) => {
    const { backend, options } = warm();
    backend.on("POST links", json(200, body));
    await prefetch(options);
    expect(preconnected()).toEqual([]);
  });

  it("does nothing for a click that wants a new link, or with an endpoint that is not a URL", async () => {
    const { backend, options } = warm();
    await prefetch({ ...options, fresh: true });
    await prefetch({ ...options, endpoint: "http://" });
    expect(backend.calls).toEqual([]);
  });
});

describe("a button", () => {
  function place(attribute: string | undefined) {
    const surroundings = warm();
    const element = document.createElement("kombo-connect-button");
    element.options = surroundings.options;
    if (attribute !== undefined) element.setAttribute("prefetch", attribute);
    document.body.append(element);
    return { ...surroundings, element };
  }

  it.each(["pointerenter", "focusin", "touchstart"])("with prefetch=intent warms up on %s", async (event) => {
    const { backend, element } = place("intent");
    expect(backend.calls).toEqual([]);
    element.dispatchEvent(new Event(event));
    await settled();
    expect(backend.last("POST links").body).toEqual({ prefetch: true });
  });

  it.each([undefined, "", "none"])("with prefetch=%j does not", async (attribute) => {
    const { backend, element } = place(attribute);
    element.dispatchEvent(new Event("pointerenter"));
    await settled();
    expect(backend.calls).toEqual([]);
  });

  it("does not while it is disabled", async () => {
    const { backend, element } = place("intent");
    element.disabled = true;
    element.dispatchEvent(new Event("pointerenter"));
    await settled();
    expect(backend.calls).toEqual([]);
  });
});
