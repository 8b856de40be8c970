import { describe, expect, it } from "vitest";
import { finishSetup, reconnect } from "../src/index.js";
import { finishing, json, LINK, page, PERSONIO, problem } from "./fakes.js";

const link = json(200, { link: LINK, expires_at: "" });

describe.each([
  ["reconnect", reconnect, "relink"],
  ["finishSetup", finishSetup, "setup-link"],
] as const)("%s", (_name, start, action) => {
  it("runs the same flow for an existing integration", async () => {
    const { backend, options } = page();
    backend.on(`POST integrations/int_1/${action}`, link);
    backend.on("POST completions", json(200, { integration: PERSONIO }));
    const result = await start("int_1", { ...options, language: "it", showKomboConnect: finishing });
    expect(result).toEqual({ status: "connected", integration: PERSONIO, first: false });
    expect(backend.calls).toEqual([`POST integrations/int_1/${action}`, "POST completions"]);
    expect(backend.sent[0]?.body).toEqual({ language: "it" });
  });

  it("reads the integration if Kombo sent no activation token", async () => {
    const { backend, options } = page();
    backend.on(`POST integrations/int_1/${action}`, link);
    backend.on("GET integrations/int_1", json(200, { integration: PERSONIO }));
    const result = await start("int_1", { ...options, showKomboConnect: () => Promise.resolve(undefined) });
    expect(result).toEqual({ status: "connected", integration: PERSONIO, first: false });
    expect(backend.count("POST completions")).toBe(0);
  });

  it("has the result `finished` if the integration cannot be read", async () => {
    const { backend, options } = page();
    backend.on(`POST integrations/int_1/${action}`, link);
    backend.on("GET integrations/int_1", problem(503, "kombo_unavailable"));
    const result = await start("int_1", { ...options, showKomboConnect: () => Promise.resolve("") });
    expect(result).toEqual({ status: "finished" });
  });

  it("rejects for an integration that is not this customer's", async () => {
    const { backend, options } = page();
    await expect(start("int_2", options)).rejects.toMatchObject({
      code: "integration_not_found",
      status: 404,
    });
    expect(backend.calls).toEqual([`POST integrations/int_2/${action}`]);
  });

  it("encodes the id in the path", async () => {
    const { backend, options } = page();
    await expect(start("../links?a#b", options)).rejects.toMatchObject({ code: "integration_not_found" });
    expect(backend.calls).toEqual([`POST integrations/..%2Flinks%3Fa%23b/${action}`]);
  });

  it.each(["", ".", ".."])("rejects %j, which is not an id", async (id) => {
    const { backend, options } = page();
    await expect(start(id, options)).rejects.toThrow(TypeError);
    expect(backend.calls).toEqual([]);
  });

  it("does not run at the same time as another flow", async () => {
    const { backend, sdk, options } = page();
    backend.on(`POST integrations/int_1/${action}`, link);
    const first = start("int_1", options);
    await expect(start("int_2", options)).rejects.toMatchObject({ code: "already_open" });
    await sdk.finish();
    await first;
  });
});
