// Build the two files that the backend serves below its mount path, minified ES modules: kombo-embed.js, with Kombo's SDK,
// and kombo-integrations.js, which imports the first. `node build.mjs [folder]`.
import { build } from "esbuild";
import process from "node:process";
import { join } from "node:path";
import { fileURLToPath, URL } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

// The files whose functions the first file has in `internals`.
const SHARED = {
  "html.ts": ["adoptStyles", "BaseElement", "createElement", "define", "reflect", "upgrade"],
  "texts.ts": ["explain", "textsFor", "toolName"],
  "list/entries.ts": ["entriesOf", "search"],
  "list/logo.ts": ["drawLogo"],
};

/** Take from the first served file, which is beside the second, what both contain. */
const fromFirstModule = {
  name: "from-first-module",
  setup({ onLoad, onResolve }) {
    onResolve({ filter: /\/index\.js$/ }, () => ({ path: "./kombo-embed.js", external: true }));
    onResolve({ filter: /^\.\.?\/.*\.js$/ }, ({ path, resolveDir }) => {
      const source = join(resolveDir, path).slice(here("src/").length).replace(/js$/, "ts");
      return source in SHARED ? { path: "internals", namespace: "shared" } : undefined;
    });
    onLoad({ filter: /^internals$/, namespace: "shared" }, () => {
      const names = Object.values(SHARED).flat().join();
      return { contents: `import { internals } from "./index.js"; export const { ${names} } = internals;` };
    });
  },
};

const common = {
  outdir: process.argv[2] ?? here("dist"),
  bundle: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  minify: true,
  charset: "utf8",
  legalComments: "none",
  sourcemap: false,
  logLevel: "warning",
};

await build({ ...common, entryPoints: { "kombo-embed": here("src/served.ts") } });
await build({
  ...common,
  entryPoints: { "kombo-integrations": here("src/integrations-element.ts") },
  plugins: [fromFirstModule],
});
