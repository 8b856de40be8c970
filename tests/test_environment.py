"""Mistakes of an environment: each is one sentence, at the start and on the command line."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette

from kombo_embed import ConfigurationError, KomboEmbed, KomboEmbedError, Settings
from tests.cli.runner import run
from tests.support import API_KEY, DATABASE, database_with_tables

UNPRIVILEGED = 65534
COMMANDS = [["reconcile"], ["integrations", "list"], ["migrate"]]


@contextmanager
def without_root_privileges() -> Iterator[None]:
    """Root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(UNPRIVILEGED)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture(autouse=True)
def environment(clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    del clean_environment  # it comes first
    monkeypatch.setenv("KOMBO_API_KEY", API_KEY)
    DATABASE.write_bytes(database_with_tables())


@pytest.fixture
def hidden_env_file(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Not below pytest's own folder, which only its owner may enter.
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / ".env"
        file.touch(0)
        file.parent.chmod(0o755)
        monkeypatch.chdir(folder)
        for module in ("composition", "demo", "sandbox.server"):
            importlib.import_module(f"kombo_embed.{module}")  # readable for root alone, perhaps
        with without_root_privileges():
            yield
        monkeypatch.undo()


def opening(settings: Settings | None = None) -> str:
    """Return the message with which the start fails."""
    with pytest.raises(KomboEmbedError) as raised:
        asyncio.run(KomboEmbed(end_user=lambda _: None, settings=settings).open())
    return str(raised.value)


@pytest.mark.usefixtures("hidden_env_file")
def test_an_unreadable_env_file_is_named_and_does_not_break_the_import_of_the_app() -> None:
    KomboEmbed(end_user=lambda _: None).install(Starlette())
    message = opening()
    assert ".env: cannot be read (PermissionError)" in message
    for command in [*COMMANDS, ["sandbox", "--port", "0"], ["demo", "--port", "0", "--no-open"]]:
        result = run(*command)
        assert (result.exit_code, result.stderr) == (1, f"{message}\n")


@pytest.mark.parametrize("content", [b"A=\xe9\n", b"KOMBO_DATABASE_URL=sqlite+aiosqlite:///a\0.db\n"])
def test_an_env_file_with_other_bytes_than_text_is_reported_by_every_command(content: bytes) -> None:
    Path(".env").write_bytes(content)
    message = opening()
    for command in COMMANDS:
        result = run(*command)
        assert (result.exit_code, result.stderr) == (1, f"{message}\n")


@pytest.mark.parametrize("name", ["KOMBO_DATABASE_URL", "KOMBO_REDIS_URL"])
def test_a_url_with_a_control_character_is_a_wrong_setting(name: str) -> None:
    scheme = "sqlite+aiosqlite:///" if "DATABASE" in name else "redis://"
    with pytest.raises(ConfigurationError, match=f"{name}: must not contain control characters") as raised:
        Settings(api_key=API_KEY, **{name.removeprefix("KOMBO_").lower(): f"{scheme}se\x7fcret"})
    assert "cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "htp://proxy.invalid"),
        ("HTTPS_PROXY", "http://proxy.invalid:port"),
        ("SSL_CERT_FILE", "/"),
        ("SSL_CERT_FILE", "kombo_embed.db"),
        ("SSLKEYLOGFILE", "/nonexistent/keys"),
        ("KOMBO_REDIS_URL", "rediss://localhost:1/0?ssl_cert_reqs=perhaps"),
        ("KOMBO_REDIS_URL", "rediss://localhost:1/0?ssl_min_version=TLSv9"),
        ("KOMBO_REDIS_URL", "redis://localhost:1/0?health_check_interval=often"),
    ],
)
def test_the_command_line_says_what_the_start_says(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    message = opening()
    assert message.startswith("kombo-embed cannot start: ")
    assert "\n" not in message
    result = run("magic-link", "--email", "a@b.example", "--organization", "A", "--origin-id", "a")
    assert (result.exit_code, result.stderr) == (1, f"{message}\n")


@pytest.mark.parametrize(
    "path",
    ["/", "/proc/kombo.db", "/dev/full", "/" + "x" * 300],
    ids=lambda path: path[:10],
)
def test_a_database_that_cannot_be_a_file_is_one_sentence(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMBO_DATABASE_URL", f"sqlite+aiosqlite:///{path}")
    message = opening()
    assert message.startswith("The database cannot be used now (")
    assert run("migrate").stderr == f"{message}\n"
    for command in (["reconcile"], ["integrations", "list"]):
        result = run(*command)
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)


def process(*command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "kombo_embed", *command],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )


def test_a_database_that_cannot_be_opened_leaves_no_traceback_of_a_thread() -> None:
    for _ in range(3):
        result = process("migrate", KOMBO_DATABASE_URL="sqlite+aiosqlite:////proc")
        assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONOPTIMIZE": "2"},
        {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
        {"HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent", "TMPDIR": "/nonexistent"},
        {"TZ": "Nowhere/Else"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_commands_work_in_unusual_environments(variables: dict[str, str]) -> None:
    for command in (["--help"], ["sandbox", "--help"], ["integrations", "list", "--json"], ["migrate"]):
        result = process(*command, **variables)
        assert (result.returncode, b"Traceback" in result.stderr) == (0, False), result.stderr
