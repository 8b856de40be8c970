from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from kombo_embed.errors import ConfigurationError, StoreUnavailable
from kombo_embed.store.database import Database
from kombo_embed.store.store import Store
from tests.store.samples import NOW, complete, created, fixed_clock, opened_store, register
from tests.support import SQLITE_URL, eventually, files_no_larger_than

FILE = Path("kombo_embed.db")
FILES = ("kombo_embed.db", "kombo_embed.db-shm", "kombo_embed.db-wal")
UNPRIVILEGED = 65534


@pytest.fixture
def database_url() -> str:
    return SQLITE_URL


@contextmanager
def without_root_privileges() -> Iterator[None]:
    """Root can write read-only files."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(UNPRIVILEGED)
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


@pytest.fixture(params=[0o022, 0o000, 0o277])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def modes(folder: Path = FILE.parent) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.glob("*.db*")}


@pytest.mark.usefixtures("umask")
async def test_a_new_file_is_for_its_user_alone_whatever_the_umask() -> None:
    async with opened_store(SQLITE_URL) as store:
        await complete(store)
        assert modes() == dict.fromkeys(FILES, 0o600)


@pytest.fixture
def link_to_a_new_file() -> Path:
    Path("elsewhere").mkdir()
    FILE.symlink_to("elsewhere/data.db")
    return Path("elsewhere")


async def test_a_new_file_behind_a_link_is_for_its_user_alone_too(link_to_a_new_file: Path) -> None:
    async with opened_store(SQLITE_URL):
        assert set(modes(link_to_a_new_file).values()) == {0o600}


@pytest.fixture
def file_of_a_group() -> None:
    FILE.touch()
    FILE.chmod(0o640)


@pytest.mark.usefixtures("file_of_a_group")
async def test_the_mode_of_a_file_that_exists_is_kept() -> None:
    async with opened_store(SQLITE_URL) as store:
        await complete(store)
        assert modes() == dict.fromkeys(FILES, 0o640)


def size_of(name: str) -> int:
    return Path(name).stat().st_size


def move_away() -> None:
    FILE.rename("kept.db")


def move_back() -> None:
    assert not FILE.exists(), "an empty database was created in place of the missing one"
    Path("kept.db").rename(FILE)


def restore(backup: bytes) -> None:
    Path("restored.db").write_bytes(backup)
    for leftover in ("kombo_embed.db-wal", "kombo_embed.db-shm"):
        Path(leftover).unlink(missing_ok=True)
    Path("restored.db").replace(FILE)


async def test_commits_are_flushed_to_disk_and_survive_a_reopening(store: Store) -> None:
    async with store._database.reading() as connection:  # noqa: SLF001 - the pragmas are per connection
        pragmas = {
            name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 5000}
    await complete(store)
    await store.aclose()
    async with opened_store(SQLITE_URL) as again:
        assert len(await again.find_integrations("acme")) == 1


async def test_concurrent_writers_wait_for_a_lock_of_another_process_at_the_same_time() -> None:
    async with opened_store(SQLITE_URL, busy_seconds=1) as store:
        with closing(sqlite3.connect(FILE, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            started = asyncio.get_running_loop().time()
            async with asyncio.timeout(10):  # in sequence they would wait 20 seconds
                results = await asyncio.gather(
                    *(complete(store, f"token {number}") for number in range(40)), return_exceptions=True
                )
            assert asyncio.get_running_loop().time() - started >= 0.4  # it might have ended meanwhile
            other.execute("ROLLBACK")
        assert {type(result) for result in results} == {StoreUnavailable}
        assert await complete(store)


async def test_a_deleted_file_fails_writes_and_loses_nothing_that_was_committed(store: Store) -> None:
    assert await complete(store)
    move_away()
    with pytest.raises(StoreUnavailable):
        await complete(store, "another token")
    with pytest.raises(StoreUnavailable):
        await store.check()
    move_back()
    assert await complete(store, "another token") is False
    assert len(await store.find_integrations("acme")) == 1


async def test_a_file_that_is_deleted_during_a_write_fails_the_write(store: Store) -> None:
    async def write_while_the_file_is_deleted() -> None:
        async with store._database.writing() as connection:  # noqa: SLF001 - to stop between write and commit
            await connection.exec_driver_sql("DELETE FROM kombo_embed_completions")
            move_away()

    with pytest.raises(StoreUnavailable):
        await write_while_the_file_is_deleted()
    move_back()
    await store.check()


async def test_a_replaced_file_is_used_from_then_on(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    assert await complete(store)
    await store.aclose()
    backup = FILE.read_bytes()  # noqa: ASYNC240 - nothing else runs here
    await store.open()
    await store.save_event(*created(integration_id="hibob:y"))
    restore(backup)
    assert [found.integration_id for found in await store.find_integrations("acme")] == ["personio:x"]
    assert await complete(store, "another token") is False
    assert {record.getMessage() for record in caplog.records if record.name == "kombo_embed.store"} == {
        "store.replaced"
    }


async def test_a_full_disk_fails_writes_until_there_is_space(store: Store) -> None:
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
    with closing(sqlite3.connect(FILE)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_a_read_only_file_fails_the_start_until_it_is_writable(read_only_file: Path) -> None:
    store = Store(f"sqlite+aiosqlite:///{read_only_file}", environment="default", clock=fixed_clock())
    with without_root_privileges(), pytest.raises(StoreUnavailable, match="permissions"):
        await store.open()
    make_writable(read_only_file)
    await store.open()
    assert await complete(store)
    await store.aclose()


async def test_a_missing_folder_fails_the_start_and_is_named(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/no/such/folder.db"
    store = Store(url, environment="default", clock=fixed_clock())
    with pytest.raises(ConfigurationError, match=r"KOMBO_DATABASE_URL does not exist.*no/such"):
        await store.open()
    await store.aclose()


async def test_a_folder_in_place_of_the_file_is_unavailable(tmp_path: Path) -> None:
    store = Store(f"sqlite+aiosqlite:///{tmp_path}", environment="default", clock=fixed_clock())
    with pytest.raises(StoreUnavailable, match="KOMBO_DATABASE_URL"):
        await store.open()
    await store.aclose()
    # The driver's thread that could not connect still reports to this loop, which must not be closed before.
    await eventually(lambda: not [one for one in threading.enumerate() if "_connection_worker" in one.name])


async def test_missing_tables_fail_the_check(store: Store) -> None:
    with closing(sqlite3.connect(FILE)) as database:
        database.execute("drop table kombo_embed_integrations")
    with pytest.raises(StoreUnavailable):
        await store.check()


async def test_several_connections_can_open_a_new_file_at_once(tmp_path: Path) -> None:
    # SQLite refuses all but one of them without waiting; but not often, hence the repetition.
    for number in range(60):
        databases = [Database(f"sqlite+aiosqlite:///{tmp_path}/{number}.db") for _ in range(4)]
        await asyncio.gather(*(written(database) for database in databases))
        await asyncio.gather(*(database.aclose() for database in databases))


async def written(database: Database) -> None:
    async with database.writing():
        pass


async def test_a_lease_ends_by_the_machines_clock(store: Store) -> None:
    slots = await register(store, "integration.connected")
    await complete(store)
    assert await store.outbox.take(slots, now=NOW, lease_seconds=10) != []
    almost, then = (NOW + timedelta(seconds=seconds) for seconds in (9.9, 10))
    assert await store.outbox.take(slots, now=almost, lease_seconds=10) == []
    assert await store.outbox.take(slots, now=then, lease_seconds=10) != []
