// The package as it would be published: its files, and that a server can import it.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";

const root = join(fileURLToPath(import.meta.url), "../..");
const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });

beforeAll(() => void run("npm", "run", "--silent", "build"), 60_000);

describe("the package", { timeout: 60_000 }, () => {
  it("contains the build and nothing else", () => {
    const [{ files }] = JSON.parse(run("npm", "pack", "--dry-run", "--json", "--ignore-scripts")) as [
      { files: { path: string }[] },
    ];
    const paths = files.map(({ path }) => path).sort();
    const built =
      /^dist\/(kombo-(embed|integrations)\.js|(lib|cjs)\/(list\/)?[\w-]+\.(d\.ts|js)|cjs\/package\.json)$/;
    const proxies = ["element", "integrations", "preact", "react"].map((entry) => `${entry}/package.json`);
    expect(paths.filter((path) => !built.test(path))).toEqual(
      ["LICENSE", "README.md", "package.json", ...proxies].sort(),
    );
    for (const entry of ["index", "react", "element", "integrations-element", "preact"]) {
      for (const half of ["lib", "cjs"]) {
        expect(paths).toContain(`dist/${half}/${entry}.d.ts`);
        expect(paths).toContain(`dist/${half}/${entry}.js`);
      }
    }
  });

  const entries = ["kombo-embed", "kombo-embed/react", "kombo-embed/element", "kombo-embed/integrations"];

  it.each([...entries, "kombo-embed/kombo-embed.js", "kombo-embed/kombo-integrations.js"])(
    "can be imported without a DOM: %s",
    (entry) => {
      const names = `import(${JSON.stringify(entry)}).then((m) => console.log(Object.keys(m).length > 0))`;
      expect(run(process.execPath, "--input-type=module", "--eval", names).trim()).toBe("true");
    },
  );

  it.each(entries)("can be required without a DOM, with the names of the ES module: %s", (entry) => {
    const name = JSON.stringify(entry);
    const program = `import(${name}).then((m) => console.log([m, require(${name})].map((n) => Object.keys(n).sort().join()).join(" ")))`;
    const [imported, required] = run(process.execPath, "--input-type=commonjs", "--eval", program)
      .trim()
      .split(" ");
    expect(required).toBe(imported);
  });

  it("can be required by resolvers that do not read `exports`", () => {
    for (const entry of ["element", "integrations", "preact", "react"]) {
      const proxy = JSON.parse(readFileSync(join(root, entry, "package.json"), "utf8")) as Record<
        string,
        string
      >;
      for (const target of Object.values(proxy)) expect(existsSync(join(root, entry, target))).toBe(true);
    }
  });

  it("is for clients where a framework distinguishes them", () => {
    for (const half of ["lib", "cjs"])
      expect(readFileSync(join(root, `dist/${half}/react.js`), "utf8")).toMatch(
        /^("use strict";\n)?"use client";/,
      );
  });

  it("declares side effects for the entries that define elements alone", () => {
    const { sideEffects } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
      sideEffects: string[];
    };
    expect(sideEffects.sort()).toEqual([
      "./dist/cjs/element.js",
      "./dist/cjs/integrations-element.js",
      "./dist/kombo-embed.js",
      "./dist/kombo-integrations.js",
      "./dist/lib/element.js",
      "./dist/lib/integrations-element.js",
      "./dist/lib/served.js",
    ]);
    for (const entry of ["lib/index.js", "lib/react.js", "cjs/index.js", "cjs/react.js"]) {
      const names = JSON.stringify(`./dist/${entry}`);
      const defined = run(
        process.execPath,
        "--input-type=module",
        "--eval",
        `Object.assign(globalThis, { HTMLElement: class {}, customElements: { get() {}, define: console.log } }); await import(${names})`,
      );
      expect(defined).toBe("");
    }
  });

  it("has a lock file without registry hosts", () => {
    expect(readFileSync(join(root, "package-lock.json"), "utf8")).not.toContain('"resolved": "http');
  });
});
