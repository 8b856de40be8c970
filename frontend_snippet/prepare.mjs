// Build the package before it is packed, or installed from a folder. In a fresh clone, this first installs what the build
// needs. A failure ends the installation: a package without its build would fail only in the browser.
import { execSync } from "node:child_process";
import { existsSync } from "node:fs";
import process from "node:process";
import { fileURLToPath, URL } from "node:url";

const cwd = fileURLToPath(new URL(".", import.meta.url));
// npm passes the settings of its call on, such as --dry-run and the folder it works in.
const OF_THE_CALL =
  /^(NODE_ENV|npm_(package_.*|config_(dry_run|global|json|local_prefix|omit|pack_destination|prefix|production)))$/i;
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !OF_THE_CALL.test(name)));
const run = (command) => execSync(command, { cwd, env, stdio: ["ignore", 2, 2] });

if (!existsSync(new URL("node_modules/esbuild", import.meta.url))) {
  run("npm ci --ignore-scripts --no-audit --no-fund");
}
run("npm run --silent build");
