// Put what the Python package carries into it: the two served files, and the packed npm package.
import { execFileSync } from "node:child_process";
import { copyFile, cp, mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, URL } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const target = here("../kombo_embed/web/static/");

await mkdir(target, { recursive: true });
for (const name of ["kombo-embed.js", "kombo-integrations.js"])
  await copyFile(here(`dist/${name}`), join(target, name));
// Without what only a checkout needs: package managers warn of scripts that run during the installation.
const { name, files, ...manifest } = JSON.parse(await readFile(here("package.json"), "utf8"));
for (const part of ["scripts", "devDependencies", "overrides", "prettier"]) delete manifest[part];
const staging = await mkdtemp(join(tmpdir(), `${name}-`));
for (const file of [...files, "README.md", "LICENSE"])
  await cp(here(file), join(staging, file), { recursive: true });
await writeFile(join(staging, "package.json"), JSON.stringify({ name, ...manifest, files }, null, 2) + "\n");
const packed = execFileSync("npm", ["pack", "--json", "--pack-destination", target], {
  cwd: staging,
  encoding: "utf8",
});
await rename(join(target, JSON.parse(packed)[0].filename), join(target, "kombo-embed.tgz"));
await rm(staging, { recursive: true });
