"""The plans of the statements about lists and invalidations, at 20,000 rows: no table is read as a whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, text

from kombo_embed.integration import IntegrationQuery
from kombo_embed.store.database import Database
from kombo_embed.store.store import Store
from kombo_embed.store.tables import integrations, link_invalidations
from tests.store.samples import NOW, created, state_changed
from tests.store.test_lists import row

ROWS, OF_ACME = 20_000, 5_000
TABLES = ("kombo_embed_integrations", "kombo_embed_dropped_links")
Statement = tuple[str, Any]

pytestmark = pytest.mark.integration


@contextmanager
def recorded() -> Iterator[list[Statement]]:
    """Record the statements about the two tables, with their parameters."""
    found: list[Statement] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        is_about_them = any(table in statement for table in TABLES)
        if is_about_them and not statement.startswith(("INSERT", "EXPLAIN")):
            found.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", record)
    yield found
    event.remove(Engine, "before_cursor_execute", record)


async def fill(url: str) -> None:
    database = Database(url)
    origin_ids = ["acme" if number < OF_ACME else f"other-{number}" for number in range(ROWS)]
    rows = [
        row(number, origin_id=origin_id, duplicate_told_at=NOW) for number, origin_id in enumerate(origin_ids)
    ]
    change = {"environment": "default", "origin_id": "acme", "dropped_at": NOW, "only_lists": False}
    async with database.writing() as connection:
        await connection.execute(insert(integrations), rows)
        changes = [change | {"drop_id": str(number)} for number in range(ROWS)]
        await connection.execute(insert(link_invalidations), changes)
    async with database.writing() as connection:
        await connection.execute(text("ANALYZE"))
    await database.aclose()


async def plan(url: str, statement: Statement) -> str:
    database = Database(url)
    explain = "EXPLAIN QUERY PLAN " if url.startswith("sqlite") else "EXPLAIN "
    async with database.reading() as connection:
        steps = await connection.run_sync(
            lambda blocking: list(blocking.exec_driver_sql(explain + statement[0], statement[1]))
        )
        lines = [str(step[-1]) for step in steps]
    await database.aclose()
    return "\n".join(lines)


async def page(store: Store, **query: Any) -> None:
    assert await store.list_integrations("acme", IntegrationQuery(100, **query)) is not None


async def duplicate(store: Store) -> None:
    given, report = created("new", category="HRIS")
    await store.save_event(given, replace(report, integration_id="personio:new"))


WORK: dict[str, Callable[[Store], Awaitable[object]]] = {
    "first page": page,
    "later page": lambda store: page(store, cursor=f"{2500:022}"),
    "filtered page": lambda store: page(store, next_actions=("reconnect", "finish_setup")),
    "guard": lambda store: store.find_connected("acme", tool="personio", category="HRIS"),
    "tools": lambda store: store.connected_tools("acme", "HRIS"),
    "duplicate": duplicate,
    "state": lambda store: store.save_event(*state_changed("s", "INVALID", "personio:7")),
    "start of the poller": lambda store: store.invalidations.find_position(),
    "poll": lambda store: store.invalidations.find(after=ROWS - 10, limit=1000),
    "late rows": lambda store: store.invalidations.find_late(list(range(100))),
    "pruning of nothing": lambda store: store.invalidations.prune(before=NOW, limit=500),
    "pruning": lambda store: store.invalidations.prune(before=NOW + timedelta(hours=1), limit=500),
}


async def test_no_statement_reads_or_sorts_a_whole_table(store: Store, database_url: str) -> None:
    await fill(database_url)
    for name, work in WORK.items():
        with recorded() as statements:
            await work(store)
        assert statements, name
        for statement in statements:
            steps = await plan(database_url, statement)
            assert not [table for table in TABLES if f"SCAN {table}" in steps], (name, steps)
            assert "Seq Scan on kombo_embed_" not in steps, (name, steps)
