"""Queries that run often use indexes: with a backlog, a scan for every row would take minutes."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from kombo_embed.store.store import Store
from tests.support import DATABASE, SQLITE_URL, ManualClock


async def test_the_search_for_due_events_uses_indexes_and_does_not_sort() -> None:
    queries: list[tuple[str, Any]] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        queries.append((statement, parameters))

    store = Store(SQLITE_URL, environment="default", clock=ManualClock())
    await store.open()
    event.listen(Engine, "before_cursor_execute", record)
    try:
        now = datetime.now(UTC)
        assert await store.outbox.take(["kombo.event"], limit=20, now=now, lease_seconds=10) == []
    finally:
        event.remove(Engine, "before_cursor_execute", record)
        await store.aclose()
    [(statement, parameters)] = [query for query in queries if query[0].startswith("SELECT")]
    with sqlite3.connect(DATABASE) as database:
        steps = database.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
    plan = " ".join(str(step[-1]) for step in steps)
    assert "ix_kombo_embed_outbox_waiting" in plan
    assert "ix_kombo_embed_outbox_integration (environment=? AND integration_id=? AND id<?)" in plan
    assert "TEMP B-TREE" not in plan
