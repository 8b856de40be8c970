"""Builds the browser module while the package is built or installed from a checkout.

The module is TypeScript in ``frontend_snippet/``; the wheel carries the one file that ``esbuild`` makes of
it. A source distribution carries that file already, so installing from one needs no npm.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODULE = Path("kombo_embed/web/static/kombo-embed.js")
MISSING_NPM = (
    "npm was not found, so the browser module was not built. Everything but GET /kombo-embed.js and the demo "
    "page works. To build it: install Node.js 20 or newer, then install this package again."
)


class BrowserModuleHook(BuildHookInterface[Any]):
    """Runs ``npm ci`` and ``npm run build`` in ``frontend_snippet/`` and puts the result into the package."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the module, unless this is an unpacked source distribution that carries it."""
        del version, build_data
        root = Path(self.root)
        target = root / MODULE
        if (root / "PKG-INFO").exists() and target.exists():
            return
        npm = shutil.which("npm")
        if npm is None:
            # Left from an earlier build it would be served as if it were this version's.
            target.unlink(missing_ok=True)
            self.app.display_warning(MISSING_NPM)
            return
        frontend = root / "frontend_snippet"
        if os.environ.get("KOMBO_EMBED_SKIP_NPM_CI") != "1":
            # Without the install scripts of its packages: none is needed, and each could run anything.
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            self._run(command, frontend)
        self._run([npm, "run", "--silent", "build"], frontend)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(frontend / "dist" / "kombo-embed.js", target)

    def _run(self, command: list[str], cwd: Path) -> None:
        result = subprocess.run(  # noqa: S603 - a fixed command, found by which()
            command, cwd=cwd, check=False, capture_output=True, text=True
        )
        if result.returncode != 0:
            words = " ".join(["npm", *command[1:]])
            output = (result.stdout + result.stderr).strip()
            msg = f"the browser module could not be built: `{words}` in {cwd.name}/ failed:\n{output}"
            raise RuntimeError(msg)
