import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import * as core from "../src/index.js";
import * as source from "../src/served.js";

const folder = mkdtempSync(join(tmpdir(), "kombo-embed-"));
const file = join(folder, "kombo-embed.js");
// From the path, since what a DOM of a test environment calls a URL is not what Node does.
const script = join(fileURLToPath(import.meta.url), "../../build.mjs");
execFileSync(process.execPath, [script, file]);
const built = readFileSync(file, "utf8");

afterAll(() => rmSync(folder, { recursive: true }));

describe("the served module", () => {
  it("is one file", () => {
    expect(readdirSync(folder)).toEqual(["kombo-embed.js"]);
    expect(built).not.toMatch(/\bimport\s*[({"'*]|\bfrom\s*["']|\brequire\(/);
  });

  it("is at most 8 kB on the wire", () => {
    expect(gzipSync(built).length).toBeLessThanOrEqual(8_000);
  });

  it("can be imported where there is no page, and exports what the source does", () => {
    const names = `import(${JSON.stringify(pathToFileURL(file).href)}).then((m) => console.log(Object.keys(m).join()))`;
    const out = execFileSync(process.execPath, ["--input-type=module", "--eval", names], {
      encoding: "utf8",
    });
    expect(out.trim().split(",").sort()).toEqual(Object.keys(source).sort());
  });

  it("defines the element", () => {
    expect(built).toContain("customElements.define");
  });

  it("has Kombo's own SDK inside", () => {
    expect(built).toContain("sdkv");
    expect(built).toContain("There's already a Kombo Connect modal open!");
  });

  it("knows where it was served from", () => {
    expect(built).toContain("import.meta.url");
  });

  it("refers to nothing that a browser does not have", () => {
    expect(built).not.toMatch(/sourceMappingURL|node:|process\.|__dirname|Buffer\b/);
  });

  it("tells nothing of the machine that built it", () => {
    expect(built).not.toContain(fileURLToPath(import.meta.url).split("/frontend_snippet/")[0]);
  });
});

describe("the public names", () => {
  it("are these and no others", () => {
    expect(Object.keys(core).sort()).toEqual([
      "KomboEmbedError",
      "connect",
      "finishPending",
      "finishSetup",
      "listIntegrations",
      "reconnect",
      "watch",
    ]);
  });
});
