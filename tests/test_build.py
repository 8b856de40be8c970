"""The wheel contains the browser module; without npm the build warns and omits it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent
MODULE = "kombo_embed/web/static/kombo-embed.js"
IGNORED = (".*", "node_modules", "dist", "__pycache__", "tests", "kombo-embed.js", "*.db")


def build_wheel(tmp_path: Path, path: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(*IGNORED))
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


def test_the_wheel_contains_the_browser_module_and_all_data_files(tmp_path: Path) -> None:
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


def test_without_npm_the_build_warns_and_omits_the_browser_module(tmp_path: Path) -> None:
    result, names = build_wheel(tmp_path, "/nowhere")
    assert "npm was not found" in result.stdout + result.stderr
    assert MODULE not in names
    assert "kombo_embed/embed.py" in names
