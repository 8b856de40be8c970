"""``kombo-embed npm-pack``."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from kombo_embed import __version__
from tests.cli.runner import run, run_json


def test_it_writes_the_npm_package_of_this_version(tmp_path: Path) -> None:
    written = run_json("npm-pack", "--destination", str(tmp_path))
    file = tmp_path / f"kombo-embed-{__version__}.tgz"
    assert written == {"file": str(file)}
    with tarfile.open(file) as package:
        names = set(package.getnames())
        manifest = package.extractfile("package/package.json")
        assert manifest is not None
        description = json.load(manifest)
    assert (description["name"], description["version"]) == ("kombo-embed", __version__)
    for entry in (
        "lib/index.js",
        "lib/index.d.ts",
        "cjs/index.js",
        "cjs/react.d.ts",
        "kombo-integrations.js",
    ):
        assert f"package/dist/{entry}" in names
    assert "package/react/package.json" in names


def test_it_prints_the_file_alone_and_how_to_install_it_on_stderr() -> None:
    result = run("npm-pack")
    assert result.stdout.strip() == f"kombo-embed-{__version__}.tgz"
    assert f"npm install {Path.cwd()}/kombo-embed-{__version__}.tgz" in result.stderr


def test_a_folder_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    result = run("npm-pack", "--destination", str(tmp_path / "missing"))
    assert result.exit_code == 2
    assert "does not exist" in result.stderr
