"""Every statement about events uses indexes, however many events there are."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, text
from sqlalchemy.engine import Engine

from kombo_embed.deliveries import DeliveryOutcome
from kombo_embed.store.database import Database
from kombo_embed.store.store import Store
from kombo_embed.store.support import RecordsReader
from kombo_embed.store.tables import outbox
from tests.store.large import fill, old
from tests.store.samples import NOW, created, fixed_clock, opened_store, state_changed

pytestmark = pytest.mark.integration  # thousands of rows

Statements = dict[str, tuple[str, Any]]

# Tables with a few rows.
SMALL = {"kombo_embed_handlers", "types", "kombo_embed_version"}
BUSY = {"busy": ["kombo.event"], "other": ["integration.connected", "integration.updated"]}


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with opened_store(database_url) as store:
        await store.outbox.register(BUSY, now=NOW)
        async with store._database.writing() as connection:  # noqa: SLF001 - many at once
            await fill(
                connection,
                delivered=20_000,
                dead=2_000,
                in_one_lane=5_000,
                later=2_000,
                unclaimed=5_000,
                in_outbox=20_000,
            )
            if connection.dialect.name == "postgresql":
                await connection.execute(
                    text(
                        "SELECT setval('kombo_embed_events_id_seq', (SELECT max(id) FROM kombo_embed_events))"
                    )
                )
                await connection.execute(text("ANALYZE"))
        yield store


@contextmanager
def recorded() -> Iterator[Statements]:
    """Record each distinct statement with the parameters of one execution."""
    statements: Statements = {}

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        executemany = rest[-1]
        statements.setdefault(statement, (statement, parameters[0] if executemany else parameters))

    event.listen(Engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", record)


async def explain(database: Database, statement: str, parameters: Any) -> list[str]:
    """Return the steps of a statement's plan that read a whole table or sort."""
    async with database.reading() as connection:
        on_sqlite = connection.dialect.name == "sqlite"
        prefix = "EXPLAIN QUERY PLAN" if on_sqlite else "EXPLAIN"
        if not on_sqlite:
            # Otherwise the planner prefers to read a table of a few thousand rows to hundreds of lookups.
            await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        rows = await connection.run_sync(
            lambda blocking: blocking.exec_driver_sql(f"{prefix} {statement}", parameters).all()
        )
    lines = [str(row[-1]) for row in rows]
    pattern = r"\bSCAN (kombo_embed_\w+|[a-z]+)$" if on_sqlite else r"Seq Scan on (\w+)(?: (?!\()\w+)?"
    scans = [line for line in lines if (found := re.search(pattern, line)) and found[1] not in SMALL]
    return [line for line in scans if "anon_" not in line and "CONSTANT" not in line and "found" not in line]


async def test_no_statement_about_events_reads_a_whole_table(store: Store, database_url: str) -> None:
    with recorded() as statements:
        await work(store)
        async with RecordsReader(
            database_url, environment="default", clock=fixed_clock()
        ).opened() as records:
            await read(records)
    ours = [one for one in statements.values() if re.match(r"\s*(WITH|SELECT|INSERT|UPDATE|DELETE)", one[0])]
    ours = [one for one in ours if "kombo_embed_" in one[0]]
    assert len(ours) > 30
    found = {}
    for statement, parameters in ours:
        if steps := await explain(store._database, statement, parameters):  # noqa: SLF001 - the same dialect
            found[statement] = steps
    assert found == {}


async def work(store: Store) -> None:
    """Do everything that the app does with events."""
    await store.save_event(*created("c1"))
    await store.save_event(*state_changed("s1", "ACTIVE"))
    slots = {"busy": 5, "other": 5, "none": 5}
    taken = await store.outbox.take(slots, now=NOW, lease_seconds=10)
    [of_busy] = [lane for lane in taken if lane[0].handler == "busy"]
    [connected, updated] = [one for lane in taken if lane[0].handler == "other" for one in lane]
    await store.outbox.renew([of_busy[0]], now=NOW, lease_seconds=10)
    await store.outbox.defer(of_busy[0], now=NOW, seconds=10)
    outcomes = [
        DeliveryOutcome(of_busy[0], successor=of_busy[1]),
        DeliveryOutcome(of_busy[1], error="RuntimeError", retry_seconds=5),
        DeliveryOutcome(connected, successor=updated),
        DeliveryOutcome(updated, error="RuntimeError"),
    ]
    assert await store.outbox.save(outcomes, now=NOW, lease_seconds=10) == []
    await store.outbox.release([of_busy[1]], now=NOW)
    assert await store.outbox.ready_lanes(now=NOW) == 0
    # A handler for the events without one, and a worker of the previous version.
    await store.outbox.register({"late": ["flow.failed"]}, now=NOW)
    async with store._database.writing() as connection:  # noqa: SLF001 - an earlier version does it
        waiting = old(999_999) | {"delivered_at": None, "integration_id": "personio:x"}
        await connection.execute(insert(outbox), waiting)
    await store.outbox.take({"late": 5}, now=NOW, lease_seconds=10)
    day = NOW + timedelta(days=2)
    assert ("late", "flow.failed") in await store.outbox.find_missing(["busy"], now=day, seconds=86400)
    assert await store.outbox.park("late", "flow.failed", now=NOW) > 0
    assert await store.check() is not None
    assert (await store.figures.read()).pending >= 7_000
    await store.prune(before=NOW, audit_before=NOW, limit=500)
    await store.prune(before=day, audit_before=day, limit=500)


async def read(records: RecordsReader) -> None:
    """Do everything that the commands do with events."""
    everything = await records.events(delivered=True, limit=50)
    assert everything is not None
    last = everything[-1].id
    for delivered in (False, True):
        assert await records.events(delivered=delivered, limit=50, before=last)
        assert await records.events(delivered=delivered, limit=50)
    assert await records.find_event(last[:31]) is None  # several begin with it
    assert await records.find_event(last) is not None
    assert await records.replay([last])
    assert await records.resend(last, handler=None) is not None
    assert len(await records.replay_handler("late", new_name="new")) > 0
    assert len(await records.replay_all()) > 1000
    await records.missing_handlers()
