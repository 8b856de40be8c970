// The package as it would be published: its files, and that a server can import it.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";

const root = join(fileURLToPath(import.meta.url), "../..");
const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });

beforeAll(() => void run("npm", "run", "--silent", "build"), 60_000);

describe("the package", { timeout: 60_000 }, () => {
  it("contains the build and nothing else", () => {
    const [{ files }] = JSON.parse(run("npm", "pack", "--dry-run", "--json")) as [
      { files: { path: string }[] },
    ];
    const paths = files.map(({ path }) => path).sort();
    const other = paths.filter((path) => !/^dist\/(kombo-embed\.js|lib\/[\w-]+\.(d\.ts|js))$/.test(path));
    expect(other).toEqual(["LICENSE", "README.md", "package.json"]);
    for (const entry of ["index", "react", "element", "served"])
      expect(paths).toContain(`dist/lib/${entry}.d.ts`);
  });

  it.each(["kombo-embed", "kombo-embed/react", "kombo-embed/element", "kombo-embed/kombo-embed.js"])(
    "can be imported without a DOM: %s",
    (entry) => {
      const names = `import(${JSON.stringify(entry)}).then((m) => console.log(Object.keys(m).length > 0))`;
      expect(run(process.execPath, "--input-type=module", "--eval", names).trim()).toBe("true");
    },
  );

  it("declares side effects for the element alone", () => {
    const { sideEffects } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
      sideEffects: string[];
    };
    expect(sideEffects.sort()).toEqual([
      "./dist/kombo-embed.js",
      "./dist/lib/element.js",
      "./dist/lib/served.js",
    ]);
    expect(readFileSync(join(root, "dist/lib/index.js"), "utf8")).not.toContain("element");
  });

  it("has a lock file without registry hosts", () => {
    expect(readFileSync(join(root, "package-lock.json"), "utf8")).not.toContain('"resolved": "http');
  });
});
