"""The log filter of both kinds of database, with all loggers at DEBUG."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from kombo_embed.store.store import Store
from tests.store.samples import complete, created
from tests.support import LogRecorder


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
