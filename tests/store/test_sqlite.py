from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from kombo_embed.errors import ConfigurationError, StoreUnavailable
from kombo_embed.store.database import Database
from kombo_embed.store.store import Store
from tests.store.samples import complete, created
from tests.support import SQLITE_URL, ManualClock, eventually, files_no_larger_than

FILE = Path("kombo_embed.db")
NOBODY = 65534


@pytest.fixture
def database_url() -> str:
    return SQLITE_URL


@contextmanager
def without_the_powers_of_root() -> Iterator[None]:
    """For root, files are never read-only."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def read_only_file() -> Iterator[Path]:
    # Not below pytest's own folder, which only its owner may enter.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kombo_embed.db"
        path.touch(0o444)
        path.parent.chmod(0o555)
        yield path


def make_writable(path: Path) -> None:
    path.parent.chmod(0o755)
    path.chmod(0o644)


def size_of(name: str) -> int:
    return Path(name).stat().st_size


def take_away() -> None:
    FILE.rename("kept.db")


def bring_back() -> None:
    assert not FILE.exists(), "an empty database stands in the place of the lost one"
    Path("kept.db").rename(FILE)


def restore(backup: bytes) -> None:
    Path("restored.db").write_bytes(backup)
    for leftover in ("kombo_embed.db-wal", "kombo_embed.db-shm"):
        Path(leftover).unlink(missing_ok=True)
    Path("restored.db").replace(FILE)


async def test_what_is_answered_is_flushed_to_disk_and_survives_a_reopening(store: Store) -> None:
    async with store._database.reading() as connection:  # noqa: SLF001 - the pragmas are per connection
        pragmas = {
            name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 5000}
    await complete(store)
    await store.aclose()
    again = Store(SQLITE_URL, environment="default", clock=ManualClock())
    await again.open()
    assert len(await again.find_integrations("acme")) == 1
    await again.aclose()


async def test_a_file_that_is_deleted_while_it_is_open_loses_nothing_that_was_answered(
    store: Store,
) -> None:
    assert await complete(store)
    take_away()
    with pytest.raises(StoreUnavailable):
        await complete(store, "another token")
    with pytest.raises(StoreUnavailable):
        await store.check()
    bring_back()
    assert await complete(store, "another token") is False
    assert len(await store.find_integrations("acme")) == 1


async def test_a_write_that_was_under_way_when_the_file_was_deleted_is_not_answered(store: Store) -> None:
    async def write_while_it_is_taken_away() -> None:
        async with store._database.writing() as connection:  # noqa: SLF001 - to stop between write and commit
            await connection.exec_driver_sql("DELETE FROM kombo_embed_completions")
            take_away()

    with pytest.raises(StoreUnavailable):
        await write_while_it_is_taken_away()
    bring_back()
    await store.check()


async def test_a_file_that_is_replaced_while_it_is_open_is_used_from_then_on(store: Store) -> None:
    assert await complete(store)
    await store.aclose()
    backup = FILE.read_bytes()  # noqa: ASYNC240 - nothing else runs here
    await store.open()
    assert await store.save_event(*created(integration_id="hibob:y")) == "acme"
    restore(backup)
    assert [found.integration_id for found in await store.find_integrations("acme")] == ["personio:x"]
    assert await complete(store, "another token") is False


async def test_a_full_disk_is_told_and_what_fits_again_is_written(store: Store) -> None:
    assert await complete(store)

    async def fill() -> None:
        for number in range(200):
            await complete(store, f"token {number}")

    with files_no_larger_than(size_of("kombo_embed.db-wal")):
        with pytest.raises(StoreUnavailable):
            await fill()
        await store.check()
    assert await complete(store, "the last token") is False
    await store.aclose()
    with sqlite3.connect(FILE) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()


async def test_a_file_that_may_not_be_written_is_told_at_the_start_and_can_be_mended(
    read_only_file: Path,
) -> None:
    store = Store(f"sqlite+aiosqlite:///{read_only_file}", environment="default", clock=ManualClock())
    with without_the_powers_of_root(), pytest.raises(StoreUnavailable, match="permissions"):
        await store.open()
    make_writable(read_only_file)
    await store.open()
    assert await complete(store)
    await store.aclose()


async def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/no/such/folder.db"
    store = Store(url, environment="default", clock=ManualClock())
    with pytest.raises(ConfigurationError, match=r"KOMBO_DATABASE_URL does not exist.*no/such"):
        await store.open()
    await store.aclose()


async def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    store = Store(f"sqlite+aiosqlite:///{tmp_path}", environment="default", clock=ManualClock())
    with pytest.raises(StoreUnavailable, match="KOMBO_DATABASE_URL"):
        await store.open()
    await store.aclose()
    # A driver's thread that could not connect still reports to this loop, which must not be closed before.
    await eventually(lambda: not [one for one in threading.enumerate() if "_connection_worker" in one.name])


async def test_a_database_that_lost_its_tables_fails_the_check(store: Store) -> None:
    with sqlite3.connect(FILE) as database:
        database.execute("drop table kombo_embed_integrations")
    database.close()
    with pytest.raises(StoreUnavailable):
        await store.check()


async def test_a_new_file_may_be_opened_by_several_at_the_same_moment(tmp_path: Path) -> None:
    # SQLite refuses all but one of them without waiting; but not often, hence so many.
    for number in range(60):
        databases = [Database(f"sqlite+aiosqlite:///{tmp_path}/{number}.db") for _ in range(4)]
        await asyncio.gather(*(written(database) for database in databases))
        await asyncio.gather(*(database.aclose() for database in databases))


async def written(database: Database) -> None:
    async with database.writing():
        pass


async def test_a_lease_ends_by_the_clock_that_all_of_the_machine_share(store: Store) -> None:
    await complete(store)
    now, types = store._now(), ["integration.connected"]  # noqa: SLF001 - the store's own idea of now
    assert await store.outbox.take(types, limit=1, now=now, lease_seconds=10) != []
    almost, then = (now + timedelta(seconds=seconds) for seconds in (9.9, 10))
    assert await store.outbox.take(types, limit=1, now=almost, lease_seconds=10) == []
    assert await store.outbox.take(types, limit=1, now=then, lease_seconds=10) != []
