from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from tests.cli.runner import EMAIL, KOMBOS_ID, run, run_json

pytestmark = pytest.mark.usefixtures("records")

LONG_AGO = "2026-01-01 00:00:00.000000"


def dead_letter_id() -> str:
    [dead] = [event["id"] for event in run_json("events")["events"] if event["state"] == "dead letter"]
    return str(dead)


def test_events_are_listed_without_personal_data() -> None:
    events = run_json("events")["events"]
    assert [(event["type"], event["state"]) for event in events] == [
        ("integration.deleted", "no handler"),
        ("integration.connected", "failing"),
        ("integration.connected", "dead letter"),
    ]
    assert {"id", "origin_id", "integration_id", "attempts", "failures", "due_at", "occurred_at"} <= set(
        events[0]
    )
    assert len(run_json("events", "--all")["events"]) == 4
    assert len(run_json("events", "--limit", "1")["events"]) == 1
    table = run("events").stdout
    assert KOMBOS_ID in table
    assert all(len(line) <= 80 for line in table.splitlines())
    assert EMAIL not in table
    assert EMAIL not in json.dumps(events)
    assert "other" not in table


def test_an_event_whose_handler_no_app_has_is_listed_as_overdue() -> None:
    assert "overdue" not in run("events").stdout
    with closing(sqlite3.connect("kombo_embed.db")) as database, database:
        database.execute(
            "update kombo_embed_deliveries set failures = 0, attempts = 0, due_at = ?", (LONG_AGO,)
        )
    table = run("events").stdout
    assert "overdue" in table
    assert "no running app has its handler" in table
    assert all(len(line) <= 80 for line in table.splitlines())


def test_an_event_without_a_handler_is_listed_with_an_explanation() -> None:
    table = run("events").stdout
    assert "no handler" in table
    assert "KOMBO_EVENT_RETENTION" in table


def test_each_delivery_is_listed_with_its_state_and_error() -> None:
    [_, failing, dead] = run_json("events")["events"]
    states = [
        [(one["handler"], one["state"], one["last_error"]) for one in event["deliveries"]]
        for event in (failing, dead)
    ]
    assert states == [
        [("app.shaky", "failing", "RuntimeError"), ("app.steady", "delivered", None)],
        [("app.shaky", "dead letter", "RuntimeError"), ("app.steady", "delivered", None)],
    ]
    assert "1 of 2" in run("events").stdout
    shown = run("events", "show", dead["id"]).stdout
    shaky = shown.partition("app.shaky")[2].partition("app.steady")[0].split()
    assert shaky[:3] == ["state", "dead", "letter"]
    assert shaky[-3:-1] == ["last_error", "RuntimeError"]
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_events_are_listed_in_pages() -> None:
    first = run_json("events", "--all", "--limit", "3")["events"]
    [last] = run_json("events", "--all", "--limit", "3", "--before", first[-1]["id"])["events"]
    assert len({event["id"] for event in [*first, last]}) == 4
    [unfinished] = run_json("events", "--before", first[1]["id"][:8])["events"][:1]
    assert unfinished["id"] in {event["id"] for event in [*first, last]}
    assert run("events", "--before", "nonsense").exit_code == 1


def test_an_event_is_printed_in_full_by_a_prefix_of_its_id() -> None:
    event = run_json("events", "show", dead_letter_id()[:10])["event"]
    assert event["integration"]["email"] == EMAIL
    assert event["done_handlers"] == ["app.steady"]
    assert "integration.connected" in run("events", "show", dead_letter_id()).stdout
    assert run("events", "show", "nonsense").exit_code == 1
    short = run("events", "show", dead_letter_id()[:5])
    assert (short.exit_code, "at least its first six characters" in short.stderr) == (1, True)


def test_dead_letters_are_replayed_by_id_or_all_at_once() -> None:
    dead = dead_letter_id()
    mixed = run("events", "replay", dead[:12], "nonsense", "--json")
    assert (mixed.exit_code, json.loads(mixed.stdout)) == (1, {"replayed": [dead], "unknown": ["nonsense"]})
    after = run_json("events", "show", dead)["event"]
    assert (after["state"], after["failures"], after["done_handlers"]) == ("waiting", 0, ["app.steady"])
    assert run_json("events", "replay", "--all") == {"replayed": [], "unknown": []}
    assert run("events", "replay", "--all").stdout == "Nothing to replay.\n"
    assert run("events", "replay", dead).stdout.startswith("1 due now.")
    assert run("events", "replay").exit_code == 1


def test_an_event_is_resent_to_all_its_handlers_or_one() -> None:
    [delivered] = [one for one in run_json("events", "--all")["events"] if one["state"] == "delivered"]
    names = ["app.shaky", "app.steady"]
    assert run_json("events", "resend", delivered["id"][:12]) == {
        "resent": delivered["id"],
        "handlers": names,
    }
    after = run_json("events", "show", delivered["id"])["event"]
    assert [one["state"] for one in after["deliveries"]] == ["waiting", "waiting"]
    again = run("events", "resend", delivered["id"], "--handler", "app.steady")
    assert again.stdout.startswith("Due now for app.steady.")
    missing = run("events", "resend", delivered["id"], "--handler", "app.gone")
    assert (missing.exit_code, "app.gone" in missing.stderr) == (1, True)
    assert run("events", "resend", "nonsense").exit_code == 1
