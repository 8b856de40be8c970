// Deleting an integration.
import { describe, expect, it } from "vitest";
import { disconnect, watch } from "../src/index.js";
import { json, page, PERSONIO, problem, settled } from "./fakes.js";

describe("disconnect", () => {
  it("deletes the integration at the backend, without a body", async () => {
    const { backend, options } = page();
    backend.on("DELETE integrations/int_1", () => new Response(null, { status: 204 }));
    await disconnect("int_1", { ...options, headers: { Authorization: "Bearer 1" } });
    expect(backend.calls).toEqual(["DELETE integrations/int_1"]);
    expect(backend.last("DELETE integrations/int_1").body).toBeUndefined();
    expect(backend.last("DELETE integrations/int_1").headers.get("Authorization")).toBe("Bearer 1");
  });

  it("lets a watch of the page request the list at once", async () => {
    const { backend, options } = page();
    backend
      .on("DELETE integrations/int_1", () => new Response(null, { status: 204 }))
      .on("GET integrations", json(200, { integrations: [PERSONIO] }), json(200, { integrations: [] }));
    const seen: number[] = [];
    const stop = watch((list) => seen.push(list.length), options);
    await settled();
    await disconnect("int_1", options);
    await settled();
    expect(seen).toEqual([1, 0]);
    stop();
  });

  it.each([
    [403, "forbidden"],
    [404, "integration_not_found"],
    [503, "kombo_unavailable"],
  ])("rejects with the backend's error: %i %s", async (status, code) => {
    const { backend, options } = page();
    backend.on("DELETE integrations/int_1", problem(status, code));
    await expect(disconnect("int_1", options)).rejects.toMatchObject({ status, code });
  });

  it.each(["", ".", ".."])("rejects what is no id: %j", async (id) => {
    const { backend, options } = page();
    await expect(disconnect(id, options)).rejects.toThrow(TypeError);
    expect(backend.calls).toEqual([]);
  });

  it("encodes the id", async () => {
    const { backend, options } = page();
    await disconnect("a/b?c", options).catch(() => {});
    expect(backend.calls).toEqual(["DELETE integrations/a%2Fb%3Fc"]);
  });
});
