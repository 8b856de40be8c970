from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.cli.runner import KOMBOS_ID, run, run_json
from tests.support import API_KEY, DATABASE, make_host, order_fault, person, running, served

ACME = person("ada@acme")


@pytest.fixture(autouse=True)
def api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", API_KEY)


async def connect(sandbox: Sandbox, kombo: httpx.AsyncBaseTransport) -> str:
    """Connect a tool in an app; return Kombo's id of the integration."""
    host, _ = make_host(kombo)
    async with running(host) as client:
        link = (await client.post("/kombo/links", headers=ACME, json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        token = {"activation_token": flow.activation_token}
        assert (await client.post("/kombo/completions", headers=ACME, json=token)).status_code == 201
    return flow.integration_id


@pytest.mark.usefixtures("records")
def test_a_dry_run_counts_and_changes_nothing() -> None:
    before = run_json("integrations", "list")
    document = run_json("erase", "acme", "--dry-run")
    assert document["dry_run"] is True
    assert document["rows"]["kombo_embed_integrations"] == 3
    assert run_json("integrations", "list") == before
    result = run("erase", "acme", "--dry-run")
    assert "Nothing was changed." in result.stdout


@pytest.mark.usefixtures("records")
def test_erase_removes_a_customer_and_reports_the_rows_per_table() -> None:
    result = run("erase", "acme")
    assert result.exit_code == 0, result.output
    assert "kombo_embed_integrations" in result.stdout
    assert run_json("integrations", "list")["integrations"] == []
    assert run_json("erase", "acme")["rows"] == {}
    with closing(sqlite3.connect(DATABASE)) as database:
        other = "select count(*) from kombo_embed_integrations where environment = 'other'"
        assert database.execute(other).fetchone() == (1,)


@pytest.mark.usefixtures("records")
def test_an_unknown_customer_has_nothing_to_erase() -> None:
    before = run_json("integrations", "list")
    result = run("erase", "acme ")
    assert (result.exit_code, result.stdout) == (0, "There is nothing to erase.\n")
    assert run_json("erase", "nobody") == {
        "rows": {},
        "deleted_at_kombo": 0,
        "failed_at_kombo": {},
        "dry_run": False,
    }
    assert run_json("integrations", "list") == before


async def test_what_cannot_be_deleted_at_kombo_is_reported_with_an_exit_code(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    integration_id = await connect(sandbox, kombo)
    async with served(sandbox.app) as url:
        monkeypatch.setenv("KOMBO_API_URL", f"{url}/v1")
        await order_fault(sandbox, integration_id, "unauthorized")
        result = await asyncio.to_thread(run, "erase", "acme", "--at-kombo")
        assert (result.exit_code, f"{integration_id}: not deleted" in result.stderr) == (1, True)
        result = await asyncio.to_thread(run, "erase", "acme", "--at-kombo", "--json")
        document = json.loads(result.stdout)
        assert (result.exit_code, document["deleted_at_kombo"], document["failed_at_kombo"]) == (0, 1, {})
    state = sandbox.report()
    assert state["integrations"] == []


def test_erase_creates_no_database_and_refuses_an_id_that_no_customer_can_have() -> None:
    result = run("erase", "acme")
    assert (result.exit_code, "There is no database at" in result.stderr) == (1, True)
    assert not DATABASE.exists()
    result = run("erase", "")
    assert (result.exit_code, "No customer can have this id" in result.stderr) == (1, True)


@pytest.mark.usefixtures("records")
def test_the_audit_trail_is_listed_newest_first_in_pages_and_by_customer() -> None:
    document = run_json("audit", "--limit", "2")
    assert [one["action"] for one in document["audit"]] == ["disconnected", "connected"]
    rest = run_json("audit", "--before", str(document["next_before"]))
    assert [one["action"] for one in rest["audit"]] == ["connected", "connected"]
    assert rest["next_before"] is None
    first = rest["audit"][-1]
    assert (first["origin_id"], first["integration_id"]) == ("acme", KOMBOS_ID)
    assert (first["actor"], first["at"].endswith("Z")) == ("ada@acme.example", True)
    assert run_json("audit", "--origin-id", "bolt") == {"audit": [], "next_before": None}
    assert run("audit", "--origin-id", "bolt").stdout.strip() == "There are no entries."


@pytest.mark.usefixtures("records")
def test_the_audit_trail_of_an_erased_customer_is_still_found_by_the_origin_id() -> None:
    run("erase", "acme")
    document = run_json("audit", "--origin-id", "acme")
    assert [one["action"] for one in document["audit"]] == ["erased", "disconnected"] + ["connected"] * 3
    assert document["audit"][0]["actor"] == "command line"
    assert "ada@" not in json.dumps(document)
    result = run("audit")
    assert (result.exit_code, "erased" in result.stdout, "ada@" in result.stdout) == (0, True, False)
