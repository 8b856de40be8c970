"""The figures for metrics: right on both databases, and bounded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import insert

from kombo_embed.store.figures import PAGE_SIZE, PENDING_MAX
from kombo_embed.store.store import Store
from kombo_embed.store.tables import deliveries, integrations
from tests.store.large import fill, insert_many
from tests.store.samples import NOW, created, fixed_clock, opened_store, state_changed
from tests.support import recorded_statements

CRM = {"crm": ["integration.connected", "integration.updated"]}


def integration(number: int, **values: Any) -> dict[str, Any]:
    return {
        "environment": "default",
        "integration_id": f"personio:{number}",
        "public_id": f"public-{number}",
        "tool": "personio",
        "status": "ACTIVE",
        "learnt_by": "webhook",
        "connected_at": NOW,
        "updated_at": NOW,
        "deleted_at": None,
        **values,
    }


async def add(store: Store, *rows: dict[str, Any]) -> None:
    async with store._database.writing() as connection:  # noqa: SLF001 - many at once
        await insert_many(connection, integrations, list(rows))


async def test_deliveries_that_have_not_ended_are_pending_and_their_age_is_the_lag(sqlite_url: str) -> None:
    clock = fixed_clock()
    async with opened_store(sqlite_url, clock=clock) as store:
        await store.outbox.register(CRM, now=NOW)
        await store.save_event(*created())
        await store.save_event(*state_changed("s1", "INVALID"))
        clock.advance(90)
        figures = await store.figures.read()
        assert (figures.pending, figures.lag_seconds) == (2, 90.0)
        now = NOW + timedelta(seconds=90)
        await store.outbox.take({"crm": 5}, now=now, lease_seconds=10)
        figures = await store.figures.read()
        assert (figures.pending, figures.lag_seconds) == (2, 0.0)  # it is being made
        clock.advance(15)
        assert (await store.figures.read()).lag_seconds == 5.0  # by a process that has died


async def test_the_lag_on_postgresql_is_by_the_servers_clock(postgres_url: str) -> None:
    clock = fixed_clock()
    clock.advance(-1_000_000)
    async with opened_store(postgres_url, clock=clock) as store:
        await store.outbox.register(CRM, now=NOW)
        await store.save_event(*created())
        figures = await store.figures.read()
    assert figures.pending == 1
    assert 0 <= figures.lag_seconds < 60


async def test_events_without_a_handler_and_other_environments_are_not_counted(database_url: str) -> None:
    async with opened_store(database_url, environment="other") as other:
        await other.outbox.register(CRM, now=NOW)
        await other.save_event(*created())
        await add(other, integration(1))
    async with opened_store(database_url) as store:
        await store.save_event(*state_changed("s1", "INVALID", "personio:none"))
        figures = await store.figures.read()
    assert (figures.pending, figures.lag_seconds) == (0, 0.0)
    assert figures.integrations == {"ACTIVE": 1, "INACTIVE": 0, "INVALID": 0, "unknown": 0, "other": 0}


async def test_deliveries_without_an_order_are_counted_too(sqlite_url: str) -> None:
    async with opened_store(sqlite_url) as store:
        await store.outbox.register({"crm": ["flow.failed"]}, now=NOW)
        row = {
            "environment": "default",
            "type": "flow.failed",
            "handler": "crm",
            "attempts": 0,
            "failures": 0,
        }
        rows = [row | {"event_row_id": number, "lane": None, "due_at": NOW} for number in range(3)]
        async with store._database.writing() as connection:  # noqa: SLF001 - without their events
            await connection.execute(insert(deliveries), rows)
        assert (await store.figures.read()).pending == 3


async def test_integrations_are_counted_by_status(database_url: str) -> None:
    async with opened_store(database_url) as store:
        statuses = ["ACTIVE", "ACTIVE", "INVALID", None, "PAUSED"]
        rows = [integration(number, status=status) for number, status in enumerate(statuses)]
        await add(store, *rows, integration(9, deleted_at=NOW))
        expected = {"ACTIVE": 2, "INACTIVE": 0, "INVALID": 1, "unknown": 1, "other": 1}
        for _ in range(2):  # the second count does not begin with the first one's
            assert (await store.figures.read()).integrations == expected


async def test_a_look_has_the_same_few_statements_however_many_rows_there_are(sqlite_url: str) -> None:
    async with opened_store(sqlite_url) as store:
        await store.outbox.register({"busy": ["kombo.event"]}, now=NOW)
        await add(store, *(integration(number) for number in range(PAGE_SIZE + 1)))
        async with store._database.writing() as connection:  # noqa: SLF001 - many at once
            await fill(connection, in_one_lane=PENDING_MAX + 1, unclaimed=10)
        with recorded_statements() as statements:
            first = await store.figures.read()
        assert len([one for one in statements if one.lstrip().startswith("SELECT")]) == 2
        second = await store.figures.read()
    assert first.pending == PENDING_MAX
    assert first.integrations == {}  # not all are counted yet
    assert second.integrations["ACTIVE"] == PAGE_SIZE + 1
