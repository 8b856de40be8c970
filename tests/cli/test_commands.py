from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kombo_embed import __version__
from kombo_embed.cli.app import app

runner = CliRunner()


def test_the_version_is_told() -> None:
    result = runner.invoke(app, ["--version"])
    assert (result.exit_code, result.stdout.strip()) == (0, f"kombo-embed {__version__}")


def test_migrate_makes_the_tables_and_tells_the_version_without_an_api_key() -> None:
    for _ in range(2):
        result = runner.invoke(app, ["migrate", "--json"])
        assert (result.exit_code, json.loads(result.stdout)) == (0, {"version": "0003"})
    with sqlite3.connect("kombo_embed.db") as database:
        assert database.execute("select count(*) from kombo_embed_integrations").fetchone() == (0,)
    assert "0003" in runner.invoke(app, ["migrate"]).stdout


MAGIC_LINK = ["magic-link", "--email", "a@b.example", "--organization", "Acme", "--origin-id", "7"]


@pytest.mark.parametrize("arguments", [MAGIC_LINK, ["reconcile"]])
def test_wrong_settings_are_told_without_a_traceback(arguments: list[str]) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 1
    assert "KOMBO_API_KEY" in result.stderr
    assert "Traceback" not in result.output


def test_what_needs_the_apps_database_makes_no_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", "ks_dev_x")
    result = runner.invoke(app, ["reconcile"])
    assert (result.exit_code, "There is no database at" in result.stderr) == (1, True)
    assert not Path("kombo_embed.db").exists()


def test_a_magic_link_before_the_apps_first_start_says_that_there_was_no_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", "ks_dev_x")
    monkeypatch.setenv("KOMBO_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("KOMBO_TIMEOUT", "0.2")
    result = runner.invoke(app, MAGIC_LINK)
    assert result.exit_code == 1
    assert f"There was no database at {Path('kombo_embed.db').absolute()}" in result.stderr


def test_without_the_extra_the_command_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['typer'] = None; sys.argv = ['kombo-embed'];"
        "from kombo_embed.__main__ import main; main()"
    )
    result = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "its extra 'cli'" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_database_that_cannot_be_used_is_told_once() -> None:
    Path("kombo_embed.db").write_text("no database at all" * 100, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "kombo_embed", "events"], check=False, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("The database cannot be used now (DatabaseError). Check KOMBO_DATABASE_URL")
