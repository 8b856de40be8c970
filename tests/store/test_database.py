"""Both kinds of database: how they close, and their log filter, with all loggers at DEBUG."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from kombo_embed.errors import StoreUnavailable
from kombo_embed.store.database import Database
from kombo_embed.store.store import Store
from tests.store.samples import complete, created
from tests.support import LogRecorder


async def test_a_database_closes_also_in_the_moment_in_which_its_last_work_ends(database_url: str) -> None:
    database = Database(database_url)
    closing: list[asyncio.Task[None]] = []

    async def read() -> None:
        async with database.reading() as connection:
            await connection.exec_driver_sql("SELECT 1")

    async def close_next(_: object) -> None:
        # It begins when the task of the work has ended, but nobody has been notified of that yet.
        closing.append(asyncio.create_task(database.aclose()))

    await database.run_to_completion(read, then=close_next)
    await asyncio.wait_for(closing[0], 10)
    with pytest.raises(StoreUnavailable):
        await database.run_to_completion(read)


async def test_libraries_log_no_statement_and_no_row_of_ours(log: LogRecorder, store: Store) -> None:
    await complete(store)
    await store.save_event(*created("e1", category="HRIS"))
    await store.find_integrations("acme")
    assert "kombo_embed_" not in log.text()
    assert "acme" not in log.text()


async def test_libraries_log_the_hosts_own_statements(
    log: LogRecorder, store: Store, database_url: str
) -> None:
    await complete(store)
    engine = create_async_engine(database_url)
    async with engine.begin() as connection:
        await connection.execute(text("SELECT 'of the host'"))
    await engine.dispose()
    loggers = {line.split()[0] for line in log.lines if "of the host" in line}
    assert "sqlalchemy.engine.Engine" in loggers
    assert ("aiosqlite" in loggers) == database_url.startswith("sqlite")
