import { describe, expect, it } from "vitest";
import { finishSetup, reconnect } from "../src/index.js";
import { finishing, json, LINK, page, PERSONIO, problem } from "./fakes.js";

const link = json(200, { link: LINK, expires_at: "" });

describe.each([
  ["reconnect", reconnect, "relink"],
  ["finishSetup", finishSetup, "setup-link"],
] as const)("%s", (_name, start, action) => {
  it("runs the same flow over an integration that exists", async () => {
    const { backend, options } = page();
    backend.on(`POST integrations/int_1/${action}`, link);
    backend.on("POST completions", json(200, { integration: PERSONIO }));
    const result = await start("int_1", { ...options, language: "it", showKomboConnect: finishing });
    expect(result).toEqual({ status: "connected", integration: PERSONIO, first: false });
    expect(backend.calls).toEqual([`POST integrations/int_1/${action}`, "POST completions"]);
    expect(backend.sent[0]?.body).toEqual({ language: "it" });
  });

  it("asks how the integration is now, where Kombo gave no activation token", async () => {
    const { backend, options } = page();
    backend.on(`POST integrations/int_1/${action}`, link);
    backend.on("GET integrations/int_1", json(200, { integration: PERSONIO }));
    const result = await start("int_1", { ...options, showKomboConnect: () => Promise.resolve(undefined) });
    expect(result).toEqual({ status: "connected", integration: PERSONIO, first: false });
    expect(backend.count("POST completions")).toBe(0);
  });

  it("is finished all the same where that cannot be told", async () => {
    const { backend, options } = page();
    backend.on(`POST integrations/int_1/${action}`, link);
    backend.on("GET integrations/int_1", problem(503, "kombo_unavailable"));
    const result = await start("int_1", { ...options, showKomboConnect: () => Promise.resolve("") });
    expect(result).toEqual({ status: "finished" });
  });

  it("tells that the integration is not this customer's", async () => {
    const { backend, options } = page();
    await expect(start("int_2", options)).rejects.toMatchObject({
      code: "integration_not_found",
      status: 404,
    });
    expect(backend.calls).toEqual([`POST integrations/int_2/${action}`]);
  });

  it("keeps an id inside its place in the path", async () => {
    const { backend, options } = page();
    await expect(start("../links?a#b", options)).rejects.toMatchObject({ code: "integration_not_found" });
    expect(backend.calls).toEqual([`POST integrations/..%2Flinks%3Fa%23b/${action}`]);
  });

  it.each(["", ".", ".."])("refuses %j, which is no id", async (id) => {
    const { backend, options } = page();
    await expect(start(id, options)).rejects.toThrow(TypeError);
    expect(backend.calls).toEqual([]);
  });

  it("never runs beside another flow", async () => {
    const { backend, sdk, options } = page();
    backend.on(`POST integrations/int_1/${action}`, link);
    const first = start("int_1", options);
    await expect(start("int_2", options)).rejects.toMatchObject({ code: "already_open" });
    await sdk.finish();
    await first;
  });
});
