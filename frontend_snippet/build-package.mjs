// Build the CommonJS half of the package, dist/cjs, after the ES modules in dist/lib: for `require`, Jest, and resolvers that
// do not read `exports`. Each entry is one file; what they share is a property of the page (src/page-state.ts).
import { build } from "esbuild";
import { cp, writeFile } from "node:fs/promises";
import { fileURLToPath, URL } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const ENTRIES = ["index", "react", "element", "integrations-element", "preact"];

await build({
  entryPoints: ENTRIES.map((entry) => here(`src/${entry}.ts`)),
  outdir: here("dist/cjs"),
  bundle: true,
  packages: "external",
  format: "cjs",
  platform: "neutral",
  target: "es2022",
  charset: "utf8",
  // The address of a bundle does not reveal the backend's.
  define: { "import.meta.url": '""' },
  logLevel: "warning",
});
// A folder of its own, where ".js" is CommonJS, for the files and their types alike.
await writeFile(here("dist/cjs/package.json"), '{ "type": "commonjs" }\n');
await cp(here("dist/lib"), here("dist/cjs"), {
  recursive: true,
  filter: (path) => !path.endsWith(".js"),
});
