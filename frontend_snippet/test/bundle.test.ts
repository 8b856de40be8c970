import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import * as core from "../src/index.js";
import * as served from "../src/served.js";

const folder = mkdtempSync(join(tmpdir(), "kombo-embed-"));
const [first, second] = ["kombo-embed.js", "kombo-integrations.js"].map((name) => join(folder, name)) as [
  string,
  string,
];
// As a path: the URL class of the test environment's DOM is not the one that Node accepts.
const script = join(fileURLToPath(import.meta.url), "../../build.mjs");
execFileSync(process.execPath, [script, folder]);
const built = readFileSync(first, "utf8");
const list = readFileSync(second, "utf8");

const runInNode = (source: string) =>
  execFileSync(process.execPath, ["--input-type=module", "--eval", source], { encoding: "utf8" });

afterAll(() => rmSync(folder, { recursive: true }));

describe("the served module", () => {
  it("is one file, with a second one for the list", () => {
    expect(readdirSync(folder).sort()).toEqual(["kombo-embed.js", "kombo-integrations.js"]);
    expect(built).not.toMatch(/\bimport\s*[({"'*]|\bfrom\s*["']|\brequire\(/);
  });

  it("is at most 10 kB on the wire", () => {
    expect(gzipSync(built).length).toBeLessThanOrEqual(10_000);
  });

  it("can be imported without a DOM, and exports the names of the source", () => {
    const names = `import(${JSON.stringify(pathToFileURL(first).href)}).then((m) => console.log(Object.keys(m).join()))`;
    expect(runInNode(names).trim().split(",").sort()).toEqual(Object.keys(served).sort());
  });

  it("defines the element", () => {
    const browser =
      "Object.assign(globalThis, { HTMLElement: class {}, customElements: { get() {}, define: console.log } })";
    const script = `${browser}; import(${JSON.stringify(pathToFileURL(first).href)})`;
    expect(runInNode(script)).toMatch(/^kombo-connect-button \[class/);
  });

  it("contains Kombo's SDK", () => {
    expect(built).toContain("sdkv");
    expect(built).toContain("There's already a Kombo Connect modal open!");
  });

  it("finds its endpoint from the address that it was served from", () => {
    expect(built).toContain("import.meta.url");
  });

  it("uses nothing that browsers lack", () => {
    expect(built).not.toMatch(/sourceMappingURL|node:|process\.|__dirname|Buffer\b/);
  });

  it("contains no path of the machine that built it", () => {
    expect(built).not.toContain(fileURLToPath(import.meta.url).split("/frontend_snippet/")[0]);
  });
});

describe("the served module of the list", () => {
  it("is at most 8 kB on the wire", () => {
    expect(gzipSync(list).length).toBeLessThanOrEqual(8_000);
  });

  it("takes from the first what both need, and contains nothing of it", () => {
    const sources = new Set([...list.matchAll(/\bfrom"([^"]*)"/g)].map(([, source]) => source));
    expect([...sources]).toEqual(["./kombo-embed.js"]);
    for (const ofTheFirst of ["kombo-embed.page", "sdkv", "import.meta", "fetch("])
      expect(list).not.toContain(ofTheFirst);
  });

  it("can be imported without a DOM, and defines the element where there is one", () => {
    const load = `import(${JSON.stringify(pathToFileURL(second).href)})`;
    expect(runInNode(`${load}.then((m) => console.log(Object.keys(m).join()))`).trim()).toBe(
      "KomboIntegrations",
    );
    const browser =
      "Object.assign(globalThis, { HTMLElement: class {}, customElements: { get() {}, define: console.log } })";
    expect(runInNode(`${browser}; ${load}`)).toMatch(/^kombo-integrations \[class/m);
  });

  it("uses nothing that browsers lack, and no path of the machine that built it", () => {
    expect(list).not.toMatch(/sourceMappingURL|node:|process\.|__dirname|Buffer\b/);
    expect(list).not.toContain(fileURLToPath(import.meta.url).split("/frontend_snippet/")[0]);
  });
});

describe("the public names", () => {
  it("are exactly these", () => {
    expect(Object.keys(core).sort()).toEqual([
      "KomboEmbedError",
      "connect",
      "disconnect",
      "finishPending",
      "finishSetup",
      "listIntegrations",
      "prefetch",
      "reconnect",
      "watch",
    ]);
  });
});
