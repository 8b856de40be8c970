from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime

import pytest

from kombo_embed.cli.integrations import NextAction
from kombo_embed.integration import NEXT_ACTIONS
from kombo_embed.store.store import Store
from kombo_embed.upstream import ReportedIntegration, WebhookEvent
from tests.cli.runner import EMAIL, KOMBOS_ID, run, run_json
from tests.support import DATABASE, SQLITE_URL

pytestmark = pytest.mark.usefixtures("records")


def listed_tools(*options: str) -> list[str]:
    return [one["tool"] for one in run_json("integrations", "list", *options)["integrations"]]


def test_integrations_are_listed_newest_first_without_emails() -> None:
    assert listed_tools() == ["hibob", "personio"]
    assert EMAIL not in json.dumps(run_json("integrations", "list"))


def test_integrations_are_listed_in_pages() -> None:
    found: list[str] = []
    page = run_json("integrations", "list", "--limit", "1")
    while page["next_before"] is not None:
        found += [one["tool"] for one in page["integrations"]]
        page = run_json("integrations", "list", "--limit", "1", "--before", page["next_before"])
    found += [one["tool"] for one in page["integrations"]]
    assert found == ["hibob", "personio"]
    first = run("integrations", "list", "--limit", "1").stdout
    assert "There are more: add --before " in first
    assert "There are more" not in run("integrations", "list").stdout


def test_integrations_are_filtered_by_customer_tool_status_and_deletion() -> None:
    assert listed_tools("--tool", "personio") == ["personio"]
    assert listed_tools("--origin-id", "unknown") == []
    assert listed_tools("--status", "active") == []
    assert listed_tools("--deleted") == ["workday"]
    wrong = run("integrations", "list", "--status", "broken")
    assert (wrong.exit_code, "invalid" in wrong.stderr, "inactive" in wrong.stderr) == (2, True, True)


def test_integrations_are_filtered_by_what_their_customers_have_to_do() -> None:
    assert {action.value for action in NextAction} == set(NEXT_ACTIONS)
    assert listed_tools("--next-action", "pending") == ["hibob", "personio"]
    with closing(sqlite3.connect(DATABASE)) as database, database:
        for tool, values in (
            ("personio", "status = 'INVALID'"),
            ("hibob", "setup_status = 'INCOMPLETE', status = 'ACTIVE'"),
        ):
            database.execute(f"update kombo_embed_integrations set {values} where tool = '{tool}'")  # noqa: S608 - our own texts
    for tool, action in (("personio", "reconnect"), ("hibob", "finish_setup")):
        assert listed_tools("--next-action", action) == [tool]
        assert run_json("integrations", "list", "--tool", tool)["integrations"][0]["next_action"] == action
    both = listed_tools("--next-action", "reconnect", "--next-action", "finish_setup")
    assert both == ["hibob", "personio"]
    assert listed_tools("--next-action", "pending") == []
    assert run("integrations", "list", "--next-action", "sleep").exit_code == 2


def test_integrations_that_kombo_does_not_find_are_listed() -> None:
    assert listed_tools("--problem") == []
    assert run_json("integrations", "show", KOMBOS_ID)["integration"]["problem"] is None
    with closing(sqlite3.connect(DATABASE)) as database, database:
        database.execute(
            "update kombo_embed_integrations set details_due_at = null, details_not_found = 10"
            " where tool in ('personio', 'workday')"
        )
    assert listed_tools("--problem") == ["personio"]
    assert run_json("integrations", "show", KOMBOS_ID)["integration"]["problem"] == "details_not_found"
    assert "details_not_found" in run("integrations", "list").stdout


def test_the_label_is_listed_and_before_it_is_known_the_tools_id() -> None:
    with closing(sqlite3.connect(DATABASE)) as database, database:
        database.execute(
            "update kombo_embed_integrations set tool_label = 'Per Sonio' where tool = 'personio'"
        )
    table = run("integrations", "list").stdout
    assert {"Per Sonio", "hibob"} <= {line.split("  ")[0].strip() for line in table.splitlines()}
    assert f"{datetime.now(UTC):%Y-%m-%d}" in table
    labels = [one["tool_label"] for one in run_json("integrations", "list")["integrations"]]
    assert labels == [None, "Per Sonio"]


def test_an_integration_is_printed_in_full_by_either_id() -> None:
    by_kombo = run_json("integrations", "show", KOMBOS_ID)
    assert by_kombo["integration"]["email"] == EMAIL
    assert run_json("integrations", "show", by_kombo["integration"]["public_id"]) == by_kombo
    assert run("integrations", "show", "nonsense").exit_code == 1


def test_the_table_has_80_columns_and_no_control_characters() -> None:
    table = run("integrations", "list").stdout
    assert all(heading in table for heading in ("Customer", "Status", "Last update"))
    assert all(len(line) <= 80 for line in table.splitlines())
    assert "\x1b" not in table


async def test_a_customers_name_cannot_add_lines_to_the_table() -> None:
    store = Store(SQLITE_URL, environment="default", clock=time)
    forged = ReportedIntegration("forged:1", "forged", "acme", "Acme\nINVALID\nreconnect", None, "HRIS")
    await store.save_event(WebhookEvent("forged", "integration-created", {}), forged)
    await store.aclose()
    table = (await asyncio.to_thread(run, "integrations", "list")).stdout
    assert "Acme?INVALID?reconnect" in table
    assert "INVALID" not in [word for line in table.splitlines() for word in line.split()]


def test_an_id_that_begins_with_a_hyphen_is_no_option() -> None:
    public_id = "-" + "A" * 21
    result = run("integrations", "show", public_id)
    assert (result.exit_code, public_id in result.stderr) == (1, True)
