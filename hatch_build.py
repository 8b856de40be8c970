"""Builds the browser modules while the package is built or installed from a checkout.

They are TypeScript in ``frontend_snippet/``. The wheel carries the two files that ``esbuild`` makes of it,
and the npm package, for ``kombo-embed npm-pack``. A source distribution carries these files already, so
installing from one needs no npm.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODULES = (
    Path("kombo_embed/web/static/kombo-embed.js"),
    Path("kombo_embed/web/static/kombo-integrations.js"),
)
PACKAGE = Path("kombo_embed/web/static/kombo-embed.tgz")
MISSING_NPM = (
    "npm was not found, so the browser modules were not built. Everything works but GET /kombo-embed.js, "
    "GET /kombo-integrations.js, `kombo-embed npm-pack` and the demo page. To build them: "
    "install Node.js 20 or newer, then install this package again."
)


class BrowserModuleHook(BuildHookInterface[Any]):
    """Runs ``npm ci`` and the build of ``frontend_snippet/``, which puts its result into the package."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the modules, unless this is an unpacked source distribution that carries them."""
        del version, build_data
        root = Path(self.root)
        targets = [root / file for file in (*MODULES, PACKAGE)]
        if (root / "PKG-INFO").exists() and all(target.exists() for target in targets):
            return
        npm = shutil.which("npm")
        if npm is None:
            # Left from an earlier build they would be served as if they were this version's.
            for target in targets:
                target.unlink(missing_ok=True)
            self.app.display_warning(MISSING_NPM)
            return
        frontend = root / "frontend_snippet"
        if os.environ.get("KOMBO_EMBED_SKIP_NPM_CI") != "1":
            # Without the install scripts of its packages: none is needed, and each could run anything.
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            self._run(command, frontend)
        self._run([npm, "run", "--silent", "build-for-python"], frontend)
        for target in targets[: len(MODULES)]:
            if (built := frontend / "dist" / target.name).exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(built, target)

    def _run(self, command: list[str], cwd: Path) -> None:
        result = subprocess.run(  # noqa: S603 - a fixed command, found by which()
            command, cwd=cwd, check=False, capture_output=True, text=True
        )
        if result.returncode != 0:
            words = " ".join(["npm", *command[1:]])
            output = (result.stdout + result.stderr).strip()
            msg = f"the browser modules could not be built: `{words}` in {cwd.name}/ failed:\n{output}"
            raise RuntimeError(msg)
