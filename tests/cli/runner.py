"""Runs commands in this process."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner, Result

from kombo_embed.cli.app import app

EMAIL = "ada@acme.example"
KOMBOS_ID = "personio:CBNMt7dSNCzBdnRTx87dev4E"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def run_json(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document
