"""SQLite: one file that all processes of one machine share, with one writer at a time.

A transaction runs in one thread, from its first statement to its commit. All other writers wait for it, so it
must not wait for the event loop between its statements, as it would with a driver for asyncio.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import os
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, create_engine, event, literal, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import InvalidatePoolError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from kombo_embed.database_url import SqliteUrl
from kombo_embed.errors import ConfigurationError
from kombo_embed.store.blocking import BlockingConnection, run_in_this_thread
from kombo_embed.store.group_commit import GroupCommit
from kombo_embed.store.tables import UtcDateTime

logger = logging.getLogger("kombo_embed.store")

READERS = 4  # threads in which transactions that only read run beside the one of the writers
# Keys of SQLAlchemy's execution options and of its `info` per connection.
WRITING = "kombo_embed_writing"
FILE = "kombo_embed_file"
FILE_MODE = 0o600
LOCK_PAUSE_SECONDS = 0.002  # between two attempts to get the lock of the writers
WAL_PAUSES_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
FILE_REPLACED = "the database file was deleted or replaced while it was open"

FileIdentity = tuple[int, int]
Result = TypeVar("Result")


class Sqlite:
    """One database file. A commit to a file that was deleted meanwhile counts as failed."""

    errors = (SQLAlchemyError, OSError, sqlite3.Error)
    # A statement cannot be interrupted; SQLite itself waits no longer than its busy timeout.
    deadline_seconds = None
    migrates_on_open = True

    def __init__(self, url: SqliteUrl, *, busy_seconds: float) -> None:
        self._busy_seconds = busy_seconds
        self._busy_timeout = f"PRAGMA busy_timeout = {round(busy_seconds * 1000)}"
        self.engine: Engine = create_engine(
            make_url(url.url).set(drivername="sqlite"),
            connect_args={"timeout": busy_seconds, "check_same_thread": False},
            pool_size=READERS + 1,
            max_overflow=0,
            pool_timeout=busy_seconds,
            hide_parameters=True,
        )
        self._path = url.file
        self._was_open = False
        event.listen(self.engine, "do_connect", self._create_or_refuse_file)
        event.listen(self.engine, "connect", self._prepare)
        event.listen(self.engine, "checkout", self._verify_file)
        event.listen(self.engine, "begin", self._begin)
        self._writing_engine = self.engine.execution_options(**{WRITING: True})
        self._readers: ThreadPoolExecutor | None = None
        # A queue within the process is fair and needs no polling, unlike SQLite's busy timeout.
        self._writers: GroupCommit | None = None

    def verify_settings(self) -> None:
        """Raise `ConfigurationError` if the file's folder is missing: SQLite creates only the file."""
        if not self._path.parent.is_dir():
            raise ConfigurationError(
                "kombo-embed cannot start: the folder of KOMBO_DATABASE_URL does not exist: "
                f"{self._path.parent}"
            )

    async def run(self, work: Callable[[], Coroutine[Any, Any, Result]], *, reading: bool) -> Result:
        """Run work in the thread of the writers, in the order of the calls, or in one of the readers.

        The work awaits nothing but transactions. Raises `TimeoutError` if it cannot begin in time.
        """
        job = self._submit(functools.partial(run_in_this_thread, work), reading=reading)
        ended = asyncio.wrap_future(job)
        await asyncio.wait([ended], timeout=self._busy_seconds)
        if job.cancel():
            raise TimeoutError
        return await ended

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[BlockingConnection]:
        """Open a transaction that only reads."""
        with self.engine.begin() as connection:
            yield BlockingConnection(connection)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[BlockingConnection]:
        """Open a transaction that may write; when `run` returns, its changes are on disk."""
        writers = self._group_commit()
        with writers.writing() if writers.is_in_its_thread else self._write() as connection:
            yield BlockingConnection(connection)

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[BlockingConnection]:
        """Open a transaction that changes tables, one at a time over all processes."""
        with self._write() as connection:
            yield BlockingConnection(connection)

    async def aclose(self) -> None:
        """Close all connections and end the threads."""
        readers, writers, self._readers, self._writers = self._readers, self._writers, None, None
        await asyncio.to_thread(self.engine.dispose)
        if readers is not None:
            readers.shutdown(wait=False)
        if writers is not None:
            writers.close()

    def time_after(self, now: datetime, *, seconds: float) -> ColumnElement[datetime]:
        """Return the time ``seconds`` from our own now: all users of the file are on this machine."""
        return literal(now + timedelta(seconds=seconds), UtcDateTime())

    def is_transient(self, error: Exception) -> bool:
        """Return False: SQLite has waited for its lock already."""
        del error
        return False

    def describe(self, error: Exception) -> str:
        """Return the error's type, and SQLite's fixed text for a problem with the file."""
        cause = getattr(error, "orig", None) or error
        name = type(cause).__name__
        return f"{name}: {cause}" if isinstance(cause, sqlite3.OperationalError) else name

    def remedy(self, error: Exception) -> str:
        """Return what the operator can do about an error."""
        del error
        return "Check KOMBO_DATABASE_URL, its disk and its permissions."

    async def find_missing_privileges(self, connection: object) -> str | None:
        """Return None: SQLite has no privileges but the file's."""
        del connection
        return None

    def _submit(self, work: Callable[[], Result], *, reading: bool) -> Future[Result]:
        if not reading:
            return self._group_commit().submit(work)
        if self._readers is None:
            self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="kombo-embed reader")
        return self._readers.submit(contextvars.copy_context().run, work)

    def _group_commit(self) -> GroupCommit:
        if self._writers is None:
            self._writers = GroupCommit(self._write)
        return self._writers

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._writing_engine.begin() as connection:
            yield connection
            opened = connection.info.get(FILE)
        # Checked after the commit: if the file was deleted before, the commit is lost with it.
        if opened != self._file():
            raise sqlite3.OperationalError(FILE_REPLACED)

    def _create_or_refuse_file(self, *_: object) -> None:
        if self._file() is not None:
            return
        # SQLite would create an empty file in place of the one that was deleted.
        if self._was_open:
            raise sqlite3.OperationalError(FILE_REPLACED)
        # For this user alone, whatever the umask: it will hold emails. SQLite gives the -wal and the -shm the
        # same mode. What is wrong with the path is left to SQLite to report.
        with suppress(OSError):
            target = self._path.resolve()
            os.close(os.open(target, os.O_CREAT | os.O_EXCL, FILE_MODE))
            target.chmod(FILE_MODE)

    def _prepare(self, connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        # The driver would begin transactions by itself, and late; _begin does it.
        connection.isolation_level = None
        cursor = connection.cursor()
        try:
            cursor.execute(self._busy_timeout)
            _enable_wal(cursor)
            # FULL: what was answered to a browser or to Kombo survives a power cut (sqlite.org/wal.html).
            cursor.execute("PRAGMA synchronous = FULL")
        finally:
            cursor.close()
        record.info[FILE] = self._file()
        self._was_open = True

    def _begin(self, connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        if not connection.get_execution_options().get(WRITING, False):
            driver.execute("BEGIN")
            return
        # SQLite itself would look for the lock every 100 ms, and so hardly ever find it between busy writers.
        driver.execute("PRAGMA busy_timeout = 0")
        try:
            self._wait_for_lock(driver)
        finally:
            driver.execute(self._busy_timeout)

    def _wait_for_lock(self, driver: sqlite3.Connection) -> None:
        gives_up_at = time.monotonic() + self._busy_seconds
        while True:
            try:
                # IMMEDIATE: a transaction that begins by reading and writes later could fail half-way.
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= gives_up_at:
                    raise
                time.sleep(LOCK_PAUSE_SECONDS * (0.5 + random.random()))  # noqa: S311 - no secret
            else:
                return

    def _verify_file(self, _connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
        if record.info.get(FILE) != self._file():
            logger.warning("store.replaced", extra={"error": FILE_REPLACED})
            raise InvalidatePoolError(FILE_REPLACED)

    def _file(self) -> FileIdentity | None:
        """Return which file is at the path now; None if there is none."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino


def _enable_wal(cursor: DBAPICursor) -> None:
    # If several processes convert a new file at once, SQLite refuses all but one without waiting.
    for pause_seconds in WAL_PAUSES_SECONDS:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            time.sleep(pause_seconds)
        else:
            return
    cursor.execute("PRAGMA journal_mode = WAL")
