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


def build_wheel(
    tmp_path: Path, path: str, *, skip_install: bool = True
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(*IGNORED))
    modules = ROOT / "frontend_snippet" / "node_modules"
    (checkout / "frontend_snippet" / "node_modules").symlink_to(modules)
    result = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=checkout,
        env={**os.environ, "PATH": path, "KOMBO_EMBED_SKIP_NPM_CI": "1" if skip_install else "0"},
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
    assert "kombo_embed/embed/embed.py" in names


FAKE_NPM = """#!/bin/sh
echo "$*" >> "{log}"
mkdir -p dist && echo "// built" > dist/kombo-embed.js
"""


def test_the_build_runs_no_install_scripts_of_npm_packages(tmp_path: Path) -> None:
    log = tmp_path / "npm.log"
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(FAKE_NPM.format(log=log), encoding="utf-8")
    npm.chmod(0o755)
    _, names = build_wheel(tmp_path, f"{npm.parent}:{os.environ['PATH']}", skip_install=False)
    assert MODULE in names
    install, build = log.read_text(encoding="utf-8").splitlines()
    assert "--ignore-scripts" in install.split()
    assert build.startswith("run ")


def test_no_npm_install_of_this_project_runs_scripts() -> None:
    folders = [lock.parent for lock in ROOT.glob("**/package-lock.json") if "node_modules" not in lock.parts]
    assert len(folders) >= 3
    for folder in folders:
        if folder.name == "frontend_snippet":
            continue  # `npm pack` there would not run `prepare`, and would pack nothing that was built
        assert "ignore-scripts=true" in (folder / ".npmrc").read_text(encoding="utf-8").splitlines()
    for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines():
        assert "npm ci" not in line or "--ignore-scripts" in line
