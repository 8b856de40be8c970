// Put what the Python package carries into it: the two served files, and the packed npm package.
import { execFileSync } from "node:child_process";
import { copyFile, mkdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, URL } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const target = here("../kombo_embed/web/static/");

await mkdir(target, { recursive: true });
for (const name of ["kombo-embed.js", "kombo-integrations.js"])
  await copyFile(here(`dist/${name}`), join(target, name));
const packed = execFileSync("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", target], {
  cwd: here("."),
  encoding: "utf8",
});
await rename(join(target, JSON.parse(packed)[0].filename), join(target, "kombo-embed.tgz"));
