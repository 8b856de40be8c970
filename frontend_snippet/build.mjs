// Build the one file that the backend serves as GET {mount}/kombo-embed.js: all sources and Kombo's SDK in a minified
// ES module. `node build.mjs [outfile]`.
import { build } from "esbuild";
import process from "node:process";
import { fileURLToPath, URL } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

await build({
  entryPoints: [here("src/served.ts")],
  outfile: process.argv[2] ?? here("dist/kombo-embed.js"),
  bundle: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  minify: true,
  charset: "utf8",
  legalComments: "none",
  sourcemap: false,
  logLevel: "warning",
});
