"""The wheel carries the browser module; without npm it says so and works without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULE = "kombo_embed/web/static/kombo-embed.js"
LEFT_OUT = (".*", "node_modules", "dist", "__pycache__", "tests", "kombo-embed.js", "*.db")


def build_wheel(tmp_path: Path, path: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(*LEFT_OUT))
    modules = ROOT / "frontend_snippet" / "node_modules"
    (checkout / "frontend_snippet" / "node_modules").symlink_to(modules)
    result = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=checkout,
        env={**os.environ, "PATH": path, "KOMBO_EMBED_SKIP_NPM_CI": "1"},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    [wheel] = (checkout / "dist").glob("*.whl")
    return result, zipfile.ZipFile(wheel).namelist()


def test_the_wheel_carries_the_browser_module_and_everything_else_that_is_no_python(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm was not found; install Node.js to run this test")
    _, names = build_wheel(tmp_path, os.environ["PATH"])
    assert MODULE in names
    for part in (
        "py.typed",
        "store/migrations/versions/0001_first_tables.py",
        "sandbox/static/connect.html",
        "sandbox/tools.json",
        "demo/pages/app.html",
    ):
        assert f"kombo_embed/{part}" in names
    assert not [name for name in names if name.startswith(("tests/", "frontend_snippet/", "examples/"))]


def test_without_npm_the_build_says_what_is_missing_and_goes_on(tmp_path: Path) -> None:
    result, names = build_wheel(tmp_path, "/nowhere")
    assert "npm was not found" in result.stdout + result.stderr
    assert MODULE not in names
    assert "kombo_embed/embed.py" in names
