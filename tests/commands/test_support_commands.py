"""What support sees: `kombo-embed integrations`, `events` and `reconcile`."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from kombo_embed.cli.app import app
from kombo_embed.ports import DeliveryOutcome
from kombo_embed.sandbox import Sandbox
from kombo_embed.store.store import Store
from kombo_embed.upstream import ReportedIntegration, WebhookEvent
from tests.support import API_KEY, make_host, running, served

URL = "sqlite+aiosqlite:///kombo_embed.db"
KOMBOS_ID = "personio:CBNMt7dSNCzBdnRTx87dev4E"
EMAIL = "ada@acme.example"
LONG_AGO = "2026-01-01 00:00:00.000000"


@pytest.fixture
async def filled() -> None:
    """One event given up, one that fails, one delivered, a deletion, and something of another environment."""
    store = Store(URL, environment="default", clock=time)
    await store.open()
    for number, tool in enumerate(["personio", "hibob", "workday"]):
        one = ReportedIntegration(
            KOMBOS_ID.replace("personio", tool), tool, "acme", "Acme \x1b[31m", EMAIL, "HRIS"
        )
        await store.save_event(WebhookEvent(f"e{number}", "integration-created", {}), one)
    now = datetime.now(UTC)
    first, second, third = await store.outbox.take(
        ["integration.connected"], limit=3, now=now, lease_seconds=10
    )
    later = now + timedelta(hours=1)
    outcomes = [
        DeliveryOutcome(first, ("app.steady",), later, failed=True, dead=True),
        DeliveryOutcome(second, (), later, failed=True),
        DeliveryOutcome(third),
    ]
    await store.outbox.save(outcomes, now=now)
    [*_, last] = await store.find_integrations("acme")
    await store.save_deleted(last)
    await store.aclose()
    other = Store(URL, environment="other", clock=time)
    await other.save_event(
        WebhookEvent("e", "integration-created", {}),
        ReportedIntegration("other:1", "other", "acme", None, None),
    )
    await other.aclose()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def read(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_a_database_that_is_not_there_is_not_made() -> None:
    for command in (["events"], ["integrations", "list"], ["events", "replay", "--all"]):
        result = run(*command)
        assert result.exit_code == 1
        assert "KOMBO_DATABASE_URL" in result.stderr
    assert not Path("kombo_embed.db").exists()


def test_a_database_without_our_tables_is_told_how_to_get_them() -> None:
    Path("kombo_embed.db").touch()
    result = run("events")
    assert (result.exit_code, "kombo-embed migrate" in result.stderr) == (1, True)


@pytest.mark.usefixtures("filled")
def test_events_are_listed_without_what_names_people() -> None:
    events = read("events")["events"]
    assert [(event["type"], event["state"]) for event in events] == [
        ("integration.deleted", "waiting"),
        ("integration.connected", "failing"),
        ("integration.connected", "dead letter"),
    ]
    assert {"id", "origin_id", "integration_id", "attempts", "failures", "due_at", "occurred_at"} <= set(
        events[0]
    )
    assert len(read("events", "--all")["events"]) == 4
    assert len(read("events", "--limit", "1")["events"]) == 1
    listed = run("events").stdout
    assert KOMBOS_ID in listed
    assert all(len(line) <= 80 for line in listed.splitlines())
    assert EMAIL not in listed
    assert EMAIL not in json.dumps(events)
    assert "other" not in listed


@pytest.mark.usefixtures("filled")
def test_events_that_nobody_takes_are_told_so_with_what_becomes_of_them() -> None:
    assert "not taken" not in run("events").stdout
    with sqlite3.connect("kombo_embed.db") as database:
        database.execute("update kombo_embed_outbox set due_at = ? where attempts = 0", (LONG_AGO,))
    database.close()
    listed = run("events").stdout
    assert "KOMBO_EVENT_RETENTION" in listed
    assert all(len(line) <= 80 for line in listed.splitlines())


@pytest.mark.usefixtures("filled")
def test_an_event_is_shown_whole_by_the_beginning_of_its_id() -> None:
    given_up = next(one for one in read("events")["events"] if one["state"] == "dead letter")
    event = read("events", "show", given_up["id"][:10])["event"]
    assert event["integration"]["email"] == EMAIL
    assert event["done_handlers"] == ["app.steady"]
    assert "integration.connected" in run("events", "show", given_up["id"]).stdout
    assert run("events", "show", "nonsense").exit_code == 1


@pytest.mark.usefixtures("filled")
def test_what_was_given_up_is_replayed_one_by_one_or_all_at_once() -> None:
    given_up = next(one for one in read("events")["events"] if one["state"] == "dead letter")
    mixed = run("events", "replay", given_up["id"][:12], "nonsense", "--json")
    assert (mixed.exit_code, json.loads(mixed.stdout)) == (
        1,
        {"replayed": [given_up["id"]], "unknown": ["nonsense"]},
    )
    after = read("events", "show", given_up["id"])["event"]
    assert (after["state"], after["failures"], after["done_handlers"]) == ("waiting", 0, ["app.steady"])
    assert read("events", "replay", "--all") == {"replayed": [], "unknown": []}
    assert run("events", "replay", "--all").stdout == "Nothing to replay.\n"
    assert run("events", "replay", given_up["id"]).stdout.startswith(
        "1 set due again. Your app, while it runs"
    )
    assert run("events", "replay").exit_code == 1


@pytest.mark.usefixtures("filled")
def test_integrations_are_listed_filtered_and_shown_by_either_id() -> None:
    every = read("integrations", "list")["integrations"]
    assert [one["tool"] for one in every] == ["hibob", "personio"]
    assert EMAIL not in json.dumps(every)
    assert [one["tool"] for one in read("integrations", "list", "--tool", "personio")["integrations"]] == [
        "personio"
    ]
    assert read("integrations", "list", "--origin-id", "nobody") == {"integrations": []}
    assert read("integrations", "list", "--status", "active") == {"integrations": []}
    wrong = run("integrations", "list", "--status", "broken")
    assert (wrong.exit_code, "invalid" in wrong.stderr, "inactive" in wrong.stderr) == (2, True, True)
    [gone] = read("integrations", "list", "--deleted")["integrations"]
    assert gone["tool"] == "workday"
    by_kombo = read("integrations", "show", KOMBOS_ID)
    assert by_kombo["integration"]["email"] == EMAIL
    assert read("integrations", "show", by_kombo["integration"]["public_id"]) == by_kombo
    listed = run("integrations", "list").stdout
    assert all(len(line) <= 80 for line in listed.splitlines())
    # What came from elsewhere cannot colour or move the reader's terminal.
    assert "\x1b" not in listed
    assert run("integrations", "show", "nonsense").exit_code == 1


@pytest.mark.usefixtures("filled")
def test_a_magic_link_to_what_is_connected_already_is_refused_with_the_option_that_allows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", API_KEY)
    whom = ("--email", EMAIL, "--organization", "Acme", "--origin-id", "acme")
    refused = run("magic-link", *whom, "--tool", "personio")
    assert (refused.exit_code, "--allow-duplicate" in refused.stderr) == (1, True)


async def test_reconcile_says_what_it_did_and_what_it_could_not(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, tmp_path: Path
) -> None:
    host, _ = make_host(kombo)
    async with running(host) as client:
        person = {"X-Person": "ada@acme"}
        link = (await client.post("/kombo/links", headers=person, json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        await client.post(
            "/kombo/completions", headers=person, json={"activation_token": flow.activation_token}
        )
    async with served(sandbox.app) as url:
        assert await reconcile(url, tmp_path) == (0, "1 read, 0 changed, 0 deleted at Kombo.\n", "")
        code, output, _ = await reconcile(url, tmp_path, "--json")
        assert (code, json.loads(output)["checked"]) == (0, 1)
        async with httpx.AsyncClient(base_url=url) as control:
            fault = {"path": flow.integration_id, "mode": "foreign_json", "times": 1}
            await control.post("/_sandbox/faults", json=fault)
        code, _, complaints = await reconcile(url, tmp_path)
        assert (code, f"{flow.integration_id}: kombo_invalid_response" in complaints) == (1, True)


async def test_reconcile_with_a_key_of_another_environment_deletes_nothing_and_says_why(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, tmp_path: Path
) -> None:
    host, embed = make_host(kombo)
    async with running(host) as client:
        person = {"X-Person": "ada@acme"}
        link = (await client.post("/kombo/links", headers=person, json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        token = {"activation_token": flow.activation_token}
        assert (await client.post("/kombo/completions", headers=person, json=token)).status_code == 201
        async with served(Sandbox(api_key=API_KEY).app) as url:
            code, output, complaints = await reconcile(url, tmp_path)
            assert (code, output) == (1, "1 read, 0 changed, 0 deleted at Kombo.\n")
            assert f"{flow.integration_id}: all_not_found" in complaints
            assert "KOMBO_API_KEY" in complaints
            assert "--delete-all-unknown" in complaints
            code, output, complaints = await reconcile(url, tmp_path, "--json")
            assert (code, json.loads(output)["failed"]) == (1, {flow.integration_id: "all_not_found"})
            assert "--delete-all-unknown" in complaints
            assert await embed.integration(flow.integration_id) is not None
            code, output, _ = await reconcile(url, tmp_path, "--delete-all-unknown")
            assert (code, output) == (0, "1 read, 0 changed, 1 deleted at Kombo.\n")
            assert await embed.integration(flow.integration_id) is None


async def reconcile(url: str, folder: Path, *options: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kombo_embed", "reconcile", *options),
        cwd=folder,
        env={**os.environ, "KOMBO_API_KEY": API_KEY, "KOMBO_API_URL": f"{url}/v1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        output, complaints = await process.communicate()
    return process.returncode, output.decode(), complaints.decode()
