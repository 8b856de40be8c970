"""The command that mints a magic link, in this process, against the local sandbox on a real port."""

from __future__ import annotations

import asyncio
import json

import pytest
from typer.testing import CliRunner, Result

from kombo_embed.cli.app import app
from kombo_embed.sandbox import Sandbox
from tests.support import API_KEY, DATABASE, database_with_tables, served


async def run(*options: str, email: str = "ada@acme.example") -> Result:
    arguments = ["magic-link", "--email", email, "--organization", "Acme", "--origin-id", "acme", *options]
    return await asyncio.to_thread(CliRunner().invoke, app, arguments)


async def test_the_command_prints_a_magic_link_or_one_reason(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    DATABASE.write_bytes(database_with_tables())
    monkeypatch.setenv("KOMBO_API_KEY", API_KEY)
    monkeypatch.setenv("KOMBO_AUTH", "bearer")  # of the app; the command needs no issuer
    async with served(sandbox.app) as url:
        monkeypatch.setenv("KOMBO_API_URL", f"{url}/v1")
        minted = await run("--tool", "personio")
        assert (minted.exit_code, minted.stdout.count("\n"), minted.stderr) == (0, 1, "")
        assert minted.stdout.startswith(f"{url}/connect?token=")
        as_json = await run("--json")
        assert json.loads(as_json.stdout)["link"].startswith(url)
        refused = await run("--category", "PAYROLL")
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "Traceback" not in refused.stderr
        invalid = await run(email="ada")
        assert (invalid.exit_code, invalid.stderr) == (1, "EndUser.email is not an email address\n")
