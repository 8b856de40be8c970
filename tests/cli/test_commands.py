from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from kombo_embed import __version__
from tests.cli.runner import run, run_json
from tests.postgres import PostgresServer
from tests.support import API_KEY

MAGIC_LINK = ["magic-link", "--email", "a@b.example", "--organization", "Acme", "--origin-id", "acme"]


def test_the_version_is_printed() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout.strip()) == (0, f"kombo-embed {__version__}")


def test_migrate_creates_the_tables_without_an_api_key() -> None:
    first = run_json("migrate")
    assert first["version"].isdecimal()
    assert run_json("migrate") == first
    with closing(sqlite3.connect("kombo_embed.db")) as database:
        assert database.execute("select count(*) from kombo_embed_integrations").fetchone() == (0,)
    assert first["version"] in run("migrate").stdout


@pytest.mark.parametrize("arguments", [MAGIC_LINK, ["reconcile"]])
def test_invalid_settings_are_reported_without_a_traceback(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert "KOMBO_API_KEY" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "arguments", [["events"], ["integrations", "list"], ["events", "replay", "--all"], ["reconcile"]]
)
def test_a_command_that_reads_the_apps_database_creates_none(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", API_KEY)
    result = run(*arguments)
    assert (result.exit_code, "There is no database at" in result.stderr) == (1, True)
    assert "KOMBO_DATABASE_URL" in result.stderr
    assert not Path("kombo_embed.db").exists()


def test_a_database_without_tables_is_reported_with_the_command_that_creates_them() -> None:
    Path("kombo_embed.db").touch()
    result = run("events")
    assert (result.exit_code, "kombo-embed migrate" in result.stderr) == (1, True)


def test_magic_link_reports_that_it_creates_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", API_KEY)
    monkeypatch.setenv("KOMBO_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("KOMBO_TIMEOUT", "0.2")
    result = run(*MAGIC_LINK)
    assert result.exit_code == 1
    assert f"Creating a database at {Path('kombo_embed.db').absolute()}" in result.stderr


@pytest.mark.usefixtures("records")
def test_a_magic_link_for_a_connected_tool_is_refused_with_the_option_that_allows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", API_KEY)
    refused = run(*MAGIC_LINK, "--tool", "personio")
    assert (refused.exit_code, "--allow-duplicate" in refused.stderr) == (1, True)


def test_warnings_are_printed_with_their_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", API_KEY)
    monkeypatch.setenv("KOMBO_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("KOMBO_TIMEOUT", "0.2")
    monkeypatch.setenv("KOMBO_LINK_RATES", "1/minute")
    result = run(*MAGIC_LINK)
    assert "settings.unknown_variable variable='KOMBO_LINK_RATES' did_you_mean='KOMBO_LINK_RATE'" in (
        result.stderr
    )
    assert logging.getLogger("kombo_embed").handlers == []


def test_without_the_extra_the_command_names_what_to_install() -> None:
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


def test_an_unusable_database_is_reported_once() -> None:
    Path("kombo_embed.db").write_text("no database at all" * 100, encoding="utf-8")
    result = subprocess.run(  # a process has no log handlers of pytest's
        [sys.executable, "-m", "kombo_embed", "events"], check=False, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("The database cannot be used now (DatabaseError). Check KOMBO_DATABASE_URL")


@pytest.mark.parametrize("command", [("migrate",), ("events",), ("integrations", "list")])
def test_a_database_url_that_cannot_be_used_is_one_sentence_without_its_password(
    monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("KOMBO_DATABASE_URL", "postgresql://ada:hush-hush@host/db?pool_mode=transaction")
    result = run(*command)
    assert (result.exit_code, "cannot be used: pool_mode" in result.stderr) == (1, True)
    assert "hush-hush" not in result.output + result.stderr
    assert "Traceback" not in result.stderr


def test_migrating_as_a_role_that_may_not_says_which_role_may(
    monkeypatch: pytest.MonkeyPatch, postgres: PostgresServer
) -> None:
    name = postgres.create_database(template="template0")
    postgres.execute("CREATE ROLE only_reads LOGIN")
    try:
        monkeypatch.setenv("KOMBO_DATABASE_URL", postgres.url(name, user="only_reads"))
        result = run("migrate")
    finally:
        postgres.drop_database(name)
        postgres.execute("DROP ROLE only_reads")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "needs the role that owns the tables" in result.stderr


QUOTING = [
    ["integrations", "show"],
    ["events", "show"],
    ["events", "replay"],
    [*MAGIC_LINK, "--tool"],
    ["integrations", "list", "--before"],
    ["integrations", "list", "--origin-id"],
]


@pytest.mark.parametrize("arguments", QUOTING[:3])
@pytest.mark.usefixtures("records")
def test_an_argument_that_is_quoted_controls_no_terminal(arguments: list[str]) -> None:
    result = run(*arguments, "\x1b]0;title\x07\u202eid")
    assert (result.exit_code, "]0;title" in result.stderr) == (1, True)
    assert not any(character in result.stderr for character in "\x1b\x07\u202e")


@pytest.mark.parametrize("arguments", QUOTING)
@pytest.mark.usefixtures("records")
def test_an_argument_that_is_not_text_is_wrong_usage(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", API_KEY)
    result = run(*arguments, os.fsdecode(b"\xff"))
    assert (result.exit_code, "is not text" in result.stderr) == (2, True)
    assert "Traceback" not in result.output
