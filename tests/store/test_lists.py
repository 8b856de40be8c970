"""Pages of integrations, the guard against duplicates, and the duplicates of an event, on both databases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from sqlalchemy import insert

from kombo_embed.integration import NEXT_ACTIONS, Integration, IntegrationQuery
from kombo_embed.store.database import Database
from kombo_embed.store.store import Store
from kombo_embed.store.tables import integrations
from tests.store.samples import NOW, created, opened_store, register, taken_events

STATUSES = ("ACTIVE", "INVALID", "INACTIVE", "A_NEW_ONE", None)
SETUP_STATUSES = ("COMPLETED", "INCOMPLETE", "FINAL_SYNC_PENDING", "A_NEW_ONE", None)


def row(number: int, **values: object) -> dict[str, object]:
    return {
        "environment": "default",
        "integration_id": f"personio:{number}",
        "public_id": f"{number:022}",
        "origin_id": "acme",
        "tool": "personio",
        "category": "HRIS",
        "organization_name": "Acme",
        "email": "ada@acme.example",
        "status": "ACTIVE",
        "setup_status": "COMPLETED",
        "learnt_by": "webhook",
        "connected_at": NOW,
        "updated_at": NOW,
        "deleted_at": None,
        "category_guessed": False,
        "duplicate_told_at": None,
        **values,
    }


async def fill(url: str, rows: list[dict[str, object]]) -> None:
    database = Database(url)
    async with database.writing() as connection:
        await connection.execute(insert(integrations), rows)
    await database.aclose()


async def test_each_integration_is_listed_under_its_next_action_only(store: Store, database_url: str) -> None:
    pairs = [(status, setup) for status in STATUSES for setup in SETUP_STATUSES]
    rows = [row(number, status=one, setup_status=two) for number, (one, two) in enumerate(pairs)]
    await fill(database_url, rows)
    found: list[Integration] = []
    for action in NEXT_ACTIONS:
        page = await store.list_integrations("acme", IntegrationQuery(100, None, (action,)))
        assert page is not None
        assert page.integrations
        assert {one.next_action for one in page.integrations} == {action}
        found += page.integrations
    assert len(found) == len(pairs)
    everything = await store.list_integrations("acme", IntegrationQuery(100, None, NEXT_ACTIONS))
    assert everything is not None
    assert everything.integrations == await store.find_integrations("acme")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], None),
        ([{"tool": "hibob"}, {"category": "ATS"}, {"origin_id": "other"}, {"deleted_at": NOW}], None),
        ([{}, {}], 0),
        ([{"category": None}, {}], 1),
        ([{"category": None}, {"category": None, "status": "INVALID"}], 1),
        ([{"category": None, "status": "INVALID"}, {"status": "INACTIVE"}], 1),
        ([{}, {"status": "INVALID"}, {"status": "INVALID"}], 1),
        ([{"status": "INVALID", "deleted_at": NOW}, {"status": None}], 1),
    ],
)
async def test_the_guard_finds_the_integration_to_reconnect_first_else_the_oldest(
    rows: list[dict[str, object]], expected: int | None, store: Store, database_url: str
) -> None:
    await fill(
        database_url,
        [row(number, **values) for number, values in enumerate(rows)] or [row(9, origin_id=None)],
    )
    found = await store.find_connected("acme", tool="personio", category="HRIS")
    assert (found and found.integration_id) == (None if expected is None else f"personio:{expected}")


async def test_the_tools_of_a_category_include_those_whose_category_is_unknown(
    store: Store, database_url: str
) -> None:
    values: list[dict[str, object]] = [
        {"tool": "hibob"},
        {"tool": "hibob"},
        {"tool": "unknown", "category": None},
        {"tool": "ats", "category": "ATS"},
        {"tool": "deleted", "deleted_at": NOW},
        {"tool": "theirs", "origin_id": "other"},
    ]
    await fill(database_url, [row(number, **one) for number, one in enumerate(values)])
    assert await store.connected_tools("acme", "HRIS") == {"hibob", "unknown"}


async def test_a_duplicate_among_many_names_the_oldest_and_counts_all(
    store: Store, database_url: str
) -> None:
    await fill(database_url, [row(number, duplicate_told_at=NOW) for number in range(30)])
    event, report = created("e1", category="HRIS")
    await store.save_event(event, replace(report, integration_id="personio:new"))
    [duplicate] = await duplicates(store)
    assert duplicate["integration_ids"] == [f"personio:{number}" for number in range(10)]
    assert len(duplicate["public_ids"]) == 10  # type: ignore[arg-type]
    assert duplicate["count"] == 31


async def test_an_older_integration_whose_category_becomes_known_reports_the_newer_one(
    store: Store, database_url: str
) -> None:
    await fill(database_url, [row(1, category=None), row(2), row(3, duplicate_told_at=NOW)])
    event, report = created("e1", category="HRIS")
    await store.save_event(event, replace(report, integration_id="personio:1"))
    [duplicate] = await duplicates(store)
    assert duplicate == {
        "integration_ids": ["personio:1", "personio:2"],
        "public_ids": [f"{1:022}", f"{2:022}"],
        "count": 2,
    }


async def duplicates(store: Store) -> list[Mapping[str, object]]:
    slots = await register(store, "integration.duplicate")
    return [event.data for event in taken_events(await store.outbox.take(slots, now=NOW, lease_seconds=10))]


async def test_the_pages_of_a_large_organization_are_disjoint_and_complete(
    store: Store, database_url: str
) -> None:
    await fill(database_url, [row(number) for number in range(250)])
    listed: list[str] = []
    cursor = None
    for size in (100, 100, 50):
        page = await store.list_integrations("acme", IntegrationQuery(100, cursor))
        assert page is not None
        assert len(page.integrations) == size
        listed += [one.public_id for one in page.integrations]
        cursor = page.next_cursor
    assert cursor is None
    assert listed == [f"{number:022}" for number in range(250)]


async def test_a_cursor_of_another_environment_is_unknown(store: Store, database_url: str) -> None:
    await fill(database_url, [row(1), row(2)])
    async with opened_store(database_url, environment="us") as other:
        query = IntegrationQuery(1, f"{1:022}")
        assert await store.list_integrations("acme", query) is not None
        assert await other.list_integrations("acme", query) is None
