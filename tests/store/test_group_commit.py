"""Writers on SQLite: in order, several per transaction, and none at the cost of another process."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Self

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from kombo_embed.errors import StoreUnavailable
from kombo_embed.store.database import BUSY_SECONDS, Database
from kombo_embed.store.group_commit import GroupCommit
from tests.support import SQLITE_URL

FILE = "kombo_embed.db"
PROCESSES, WRITERS = 8, 120


table = sa.Table("numbers", sa.MetaData(), sa.Column("number", sa.Integer, primary_key=True))


class Undone(Exception):
    """A writer's own failure."""


@asynccontextmanager
async def opened_database(*, busy_seconds: float = BUSY_SECONDS) -> AsyncIterator[Database]:
    database = Database(SQLITE_URL, busy_seconds=busy_seconds)
    async with database.writing() as connection:
        await connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS numbers (number INTEGER PRIMARY KEY)")
    yield database
    await database.aclose()


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    async with opened_database() as database:
        yield database


async def insert(database: Database, number: int) -> None:
    async def work() -> None:
        async with database.writing() as connection:
            await connection.execute(table.insert(), {"number": number})

    await database.run_to_completion(work)


def numbers(file: str | Path = FILE) -> list[int]:
    with closing(sqlite3.connect(file)) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM numbers ORDER BY rowid")]


class Blocked:
    """Keeps the writers' thread busy, so that the work that is submitted meanwhile becomes one group."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._started, self._released = threading.Event(), threading.Event()

    async def __aenter__(self) -> Self:
        async def work() -> None:
            self._started.set()
            assert self._released.wait(10)

        self._task = asyncio.create_task(self._database.run_to_completion(work))
        await asyncio.to_thread(self._started.wait, 10)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()
        await self._task

    def release(self) -> None:
        self._released.set()


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[GroupCommit]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / FILE}", connect_args={"check_same_thread": False})
    event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    table.metadata.create_all(engine)
    writers = GroupCommit(engine.begin, group_seconds=60)
    yield writers
    writers.close()
    engine.dispose()


def results_of_one_group(writers: GroupCommit, *work: Callable[[], None]) -> list[BaseException | None]:
    """Submit work while the thread is held, so that one transaction takes all of it."""
    submitted = threading.Event()
    held = writers.submit(lambda: submitted.wait(10))
    outcomes = [writers.submit(one) for one in work]
    submitted.set()
    held.exception(10)
    return [outcome.exception(10) for outcome in outcomes]


def test_a_writer_that_fails_undoes_its_own_changes_alone(writers: GroupCommit, tmp_path: Path) -> None:
    def write(number: int, *, fails: bool) -> None:
        with writers.writing() as connection:
            connection.execute(table.insert(), {"number": number})
            if fails:
                raise Undone

    for failing in range(4):
        work = [partial(write, 10 * failing + number, fails=number == failing) for number in range(4)]
        results = results_of_one_group(writers, *work)
        assert [type(result) for result in results].count(Undone) == 1
        assert isinstance(results[failing], Undone)
    assert numbers(tmp_path / FILE) == [n for n in range(34) if n % 10 < 4 and n % 10 != n // 10]


@pytest.mark.parametrize(
    "end_transaction",
    [
        lambda connection: connection.exec_driver_sql("ROLLBACK"),  # as SQLite itself does on a full disk
        lambda connection: connection.invalidate(),
    ],
)
def test_a_group_whose_transaction_has_ended_fails_all_its_writers(
    end_transaction: Callable[[sa.Connection], object], writers: GroupCommit, tmp_path: Path
) -> None:
    def write(number: int) -> None:
        with writers.writing() as connection:
            connection.execute(table.insert(), {"number": number})

    def roll_back() -> None:
        with writers.writing() as connection:
            end_transaction(connection)

    results = results_of_one_group(writers, partial(write, 1), roll_back, partial(write, 2))
    assert [result is None for result in results] == [False, False, True]
    assert numbers(tmp_path / FILE) == [2]


async def test_writers_run_in_the_order_in_which_they_came(database: Database) -> None:
    await asyncio.gather(*(insert(database, number) for number in range(200)))
    assert numbers() == list(range(200))


async def test_a_writer_that_waited_too_long_writes_nothing_later() -> None:
    async with opened_database(busy_seconds=1) as database, Blocked(database) as blocked:
        waiting = asyncio.create_task(insert(database, 1))
        with pytest.raises(StoreUnavailable):
            await waiting
        blocked.release()
        await insert(database, 2)
    assert numbers() == [2]


async def test_readers_do_not_wait_for_writers(database: Database) -> None:
    async def read() -> int:
        async with database.reading() as connection:
            return int((await connection.exec_driver_sql("SELECT count(*) FROM numbers")).scalar_one())

    async with Blocked(database):
        assert await database.run_to_completion(read, reading=True) == 0


def write_at_once(process: int, barrier: multiprocessing.synchronize.Barrier) -> None:
    async def write() -> None:
        database = Database(SQLITE_URL)
        async with database.reading() as connection:
            await connection.exec_driver_sql("SELECT 1")
        barrier.wait(60)
        await asyncio.gather(*(insert(database, 1000 * process + number) for number in range(WRITERS)))
        await database.aclose()

    asyncio.run(write())


@pytest.mark.integration
@pytest.mark.usefixtures("database")
def test_no_writer_of_many_processes_is_starved() -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    processes = [context.Process(target=write_at_once, args=(n, barrier)) for n in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    assert len(numbers()) == PROCESSES * WRITERS
