from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.cli.runner import run, run_json
from tests.support import API_KEY, DATABASE, WEBHOOK_SECRET, database_with_tables, served

EMAIL = "ada@lovelace.example"


@pytest.fixture
def sandbox_url(integration_id: str) -> str:
    """Return the URL of the sandbox that serves the integration."""
    del integration_id
    return os.environ["KOMBO_API_URL"].removesuffix("/v1")


@pytest.fixture
async def integration_id(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Serve a sandbox with one integration of the customer acme; return Kombo's id."""
    sandbox = Sandbox(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET)
    monkeypatch.setenv("KOMBO_API_KEY", API_KEY)
    async with served(sandbox.app) as url:
        monkeypatch.setenv("KOMBO_API_URL", f"{url}/v1")
        body = {
            "end_user_email": EMAIL,
            "end_user_organization_name": "Acme",
            "end_user_origin_id": "acme",
            "integration_category": "HRIS",
            "link_type": "EMBEDDED",
        }
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with httpx.AsyncClient(base_url=url, headers=headers) as by_hand:
            minted = await by_hand.post("/v1/connect/create-link", json=body)
        flow = await sandbox.complete(minted.json()["data"]["link"], "personio")
        DATABASE.write_bytes(database_with_tables())
        yield flow.integration_id
    await sandbox.aclose()


async def run_import(*arguments: str) -> tuple[int, str, str]:
    result = await asyncio.to_thread(run, "import", *arguments)
    return result.exit_code, result.stdout, result.stderr


async def listed() -> list[dict[str, Any]]:
    document = await asyncio.to_thread(run_json, "integrations", "list")
    integrations: list[dict[str, Any]] = document["integrations"]
    return integrations


def write(name: str, *lines: str) -> None:
    Path(name).write_text("\n".join(lines), encoding="utf-8")


async def test_each_line_is_reported_and_what_is_recorded_is_listed(integration_id: str) -> None:
    header = "integration_id,origin_id,email"
    write("old.csv", header, f"{integration_id},acme,{EMAIL}", "hibob:unknown,acme,")
    code, output, errors = await run_import("old.csv", "--dry-run")
    assert (code, output.splitlines()) == (
        1,
        [
            f"line 2: {integration_id}: imported",
            "1 imported, 0 completed, 0 known, 1 failed.",
            "Nothing was changed.",
        ],
    )
    assert "line 3: hibob:unknown: not_found: Kombo does not know this integration." in errors
    assert await listed() == []
    code, output, errors = await run_import("old.csv")
    assert (code, output.splitlines()[0]) == (1, f"line 2: {integration_id}: imported")
    assert EMAIL not in output + errors
    [recorded] = await listed()
    assert (recorded["integration_id"], recorded["origin_id"], recorded["learnt_by"]) == (
        integration_id,
        "acme",
        "import",
    )
    audit = await asyncio.to_thread(run_json, "audit")
    assert [(one["action"], one["actor"]) for one in audit["audit"]] == [("imported", "command line")]


async def test_json_has_the_counts_and_every_line(integration_id: str) -> None:
    line = json.dumps({"integration_id": integration_id, "origin_id": "acme"})
    write("old.jsonl", line, "{", line)
    code, output, _ = await run_import("old.jsonl", "--json")
    document = json.loads(output)
    assert code == 1
    assert [document[name] for name in ("dry_run", "imported", "completed", "known", "failed")] == [
        False,
        1,
        0,
        1,
        1,
    ]
    assert [(one["line"], one["status"], one["reason"]) for one in document["lines"]] == [
        (1, "imported", None),
        (2, "failed", "invalid_line"),
        (3, "known", None),
    ]
    code, _, _ = await run_import("old.jsonl", "--json", "--dry-run")
    assert code == 1
    write("old.jsonl", line)
    assert (await run_import("old.jsonl"))[0] == 0


async def test_a_refused_api_key_is_one_sentence(
    integration_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("old.csv", "integration_id,origin_id", f"{integration_id},acme")
    monkeypatch.setenv("KOMBO_API_KEY", "ks_dev_another-key")
    code, output, errors = await run_import("old.csv")
    assert (code, output) == (1, "")
    assert "key" in errors
    assert "ks_dev" not in errors


async def test_what_was_recorded_is_reported_even_if_the_import_stops(
    integration_id: str, sandbox_url: str
) -> None:
    write("old.csv", "integration_id,origin_id", f"{integration_id},acme", "hibob:next,acme")
    async with httpx.AsyncClient(base_url=sandbox_url) as control:
        fault = {"path": "hibob:next", "mode": "unauthorized", "times": 1}
        (await control.post("/_sandbox/faults", json=fault)).raise_for_status()
    code, output, errors = await run_import("old.csv", "--json")
    document = json.loads(output)
    assert (code, document["imported"], document["failed"]) == (1, 1, 0)
    assert "key" in errors
    assert len(await listed()) == 1


def test_import_creates_no_database_and_refuses_files_that_it_cannot_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", API_KEY)
    result = run("import", "missing.csv")
    assert (result.exit_code, "There is no database at" in result.stderr) == (1, True)
    assert not DATABASE.exists()
    DATABASE.write_bytes(database_with_tables())
    result = run("import", "missing.csv")
    assert result.exit_code == 1
    assert "missing.csv cannot be read: No such file or directory." in result.stderr
