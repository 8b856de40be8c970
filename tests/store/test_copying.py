"""Copying all records to another database, in every direction between SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import threading
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text

from kombo_embed.errors import ConfigurationError, StoreUnavailable
from kombo_embed.store.copying import ROWS_PER_BATCH, copy
from kombo_embed.store.store import migrate
from kombo_embed.store.tables import (
    integrations,
    malformed_events,
    metadata,
)
from kombo_embed.upstream import WebhookEvent
from tests.postgres import PostgresServer
from tests.store.samples import (
    NOW,
    complete,
    created,
    key,
    opened_database,
    opened_store,
    read,
    state_changed,
)

TARGET_SQLITE = "sqlite:///target.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def target_url(request: pytest.FixtureRequest, postgres: PostgresServer) -> Iterator[str]:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        yield TARGET_SQLITE
        return
    name = postgres.create_database(template="template0")
    yield postgres.url(name)
    postgres.drop_database(name)


async def fill(url: str) -> None:
    """Write rows of every kind, also in a second environment and with unusual values."""
    async with opened_store(url) as store:
        await store.save_minted_link(key("HRIS"), 3600)
        await complete(store)
        data: dict[str, Any] = {"text": 'ä 🦊 "\x00"', "number": 1.5, "none": None, "list": [1, {}]}
        await store.save_event(WebhookEvent("unknown", "data-changed", data), None)
        await store.save_event(*created("e1", integration_id="hibob:\x00", organization_name="O'Hare \\ 🦊"))
        await store.save_event(*state_changed("e2", "ACTIVE", "not:known"))
        await store.save_malformed_event(b"\xff\x00 no JSON", reason="body: is not JSON")
    async with opened_store(url, environment="other") as store:
        await complete(store)


async def rows(url: str) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of all tables."""
    found: dict[str, list[dict[str, Any]]] = {}
    async with opened_database(url) as database, database.reading() as connection:
        for table in metadata.sorted_tables:
            query = select(table).order_by(*table.primary_key.columns)
            found[table.name] = [dict(row) for row in (await connection.execute(query)).mappings()]
    return found


async def test_every_row_and_every_value_is_in_the_target(database_url: str, target_url: str) -> None:
    await fill(database_url)
    expected = await rows(database_url)
    progress: list[tuple[str, int, int]] = []
    copied = await copy(database_url, target_url, on_progress=lambda *step: progress.append(step))
    assert copied.rows == {name: len(found) for name, found in expected.items()}
    assert sum(copied.rows.values()) > 10
    assert {(name, number, number) for name, number in copied.rows.items() if number} <= set(progress)
    for name, found in (await rows(target_url)).items():
        assert sorted(found, key=repr) == sorted(expected[name], key=repr), name
    assert await migrate(target_url) == copied.version


async def test_the_target_continues_where_the_source_stopped(database_url: str, target_url: str) -> None:
    await fill(database_url)
    # Processes remember the numbers of invalidations that are deleted by now.
    async with opened_store(database_url) as store:
        last = max((await store.invalidations.find(after=0, limit=100)).row_ids)
        assert await store.invalidations.prune(before=NOW + timedelta(days=1), limit=100)
    await copy(database_url, target_url)
    async with opened_store(target_url) as store:
        await store.save_event(*created("later", integration_id="later:1"))
        [found] = (await store.invalidations.find(after=0, limit=100)).row_ids
        assert found > last
        assert len(await store.find_integrations("acme")) == 3


async def test_a_target_that_is_not_empty_is_refused_and_left_alone(
    database_url: str, target_url: str
) -> None:
    await fill(database_url)
    await migrate(target_url)
    async with opened_store(target_url) as store:
        await store.save_malformed_event(b"x", reason="x")
    before = await rows(target_url)
    with pytest.raises(ConfigurationError, match=r"not empty.*kombo_embed_malformed_events"):
        await copy(database_url, target_url)
    assert await rows(target_url) == before


async def test_a_database_is_not_copied_to_itself(database_url: str) -> None:
    await fill(database_url)
    before = await rows(database_url)
    with pytest.raises(ConfigurationError, match="not empty"):
        await copy(database_url, database_url)
    assert await rows(database_url) == before


async def test_a_copy_that_fails_half_way_leaves_the_target_empty_and_can_be_repeated(
    database_url: str, target_url: str
) -> None:
    await fill(database_url)

    def fail(table: str, *_: int) -> None:
        if table == integrations.name:
            raise StoreUnavailable("interrupted")

    with pytest.raises(StoreUnavailable, match="interrupted"):
        await copy(database_url, target_url, on_progress=fail)
    copied = await copy(database_url, target_url)
    assert copied.rows[integrations.name] == len((await rows(target_url))[integrations.name]) == 3


async def test_what_is_written_during_the_copy_is_not_in_it(database_url: str, target_url: str) -> None:
    await fill(database_url)
    written: list[str] = []

    def write_meanwhile(table: str, *_: int) -> None:
        if not written:
            written.append(table)
            # The copy is in the middle of a table, so another thread has the other process's event loop.
            thread = threading.Thread(target=lambda: asyncio.run(_write_one(database_url)))
            thread.start()
            thread.join()

    before = await rows(database_url)
    await copy(database_url, target_url, on_progress=write_meanwhile)
    assert len((await rows(database_url))[integrations.name]) == len(before[integrations.name]) + 1
    for name, found in (await rows(target_url)).items():
        assert sorted(found, key=repr) == sorted(before[name], key=repr), name


async def _write_one(url: str) -> None:
    async with opened_store(url) as store:
        await store.save_event(*created("meanwhile", integration_id="meanwhile:1"))


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("sqlite:///missing.db", "sqlite:///target.db", "no database at"),
        ("mysql://ada:secret-word@db/x", "sqlite:///target.db", "the URL of the source must be"),
        ("sqlite:///source.db", "postgresql://ada:secret-word@db/x?nonsense=1", "the URL of the target"),
        ("sqlite:///source.db", "sqlite:///no/folder/target.db", "does not exist"),
    ],
)
async def test_databases_that_cannot_be_used_are_refused_without_their_passwords(
    source: str, target: str, reason: str
) -> None:
    await migrate("sqlite:///source.db")
    with pytest.raises(ConfigurationError, match=reason) as caught:
        await copy(source, target)
    assert "secret-word" not in str(caught.value)


async def test_a_source_without_tables_or_of_a_newer_version_is_refused(
    database_url: str, target_url: str
) -> None:
    async with opened_database("sqlite:///empty.db") as database, database.writing():
        pass
    with pytest.raises(ConfigurationError, match="tables are missing"):
        await copy("sqlite:///empty.db", target_url)
    await migrate(database_url)
    async with opened_database(database_url) as database, database.writing() as connection:
        await connection.execute(text("UPDATE kombo_embed_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="newer version"):
        await copy(database_url, target_url)


@pytest.mark.integration
async def test_many_rows_are_copied_in_bounded_memory(database_url: str, target_url: str) -> None:
    number = 40 * ROWS_PER_BATCH
    await migrate(database_url)
    async with opened_database(database_url) as database, database.writing() as connection:
        body = b"x" * 2000
        for start in range(0, number, ROWS_PER_BATCH):
            await connection.execute(
                insert(malformed_events),
                [_malformed(one, body) for one in range(start, start + ROWS_PER_BATCH)],
            )
    tracemalloc.start()
    copied = await copy(database_url, target_url)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert copied.rows[malformed_events.name] == number
    # All rows together have 40 MB.
    assert peak < 15_000_000
    async with opened_database(target_url) as database:
        assert await read(database, select(func.count()).select_from(malformed_events)) == number


def _malformed(number: int, body: bytes) -> dict[str, Any]:
    same = {"environment": "e", "body": body, "reason": "", "times": 1}
    return same | {"body_sha256": f"{number:064}", "first_received_at": NOW, "received_at": NOW}
