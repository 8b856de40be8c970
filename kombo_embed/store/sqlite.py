"""SQLite: one file that all processes of one machine share, with one writer at a time."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, event, literal
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import InvalidatePoolError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolResetState
from sqlalchemy.util import await_only

from kombo_embed.errors import ConfigurationError
from kombo_embed.logs import mute_thread
from kombo_embed.store.tables import UtcDateTime

logger = logging.getLogger("kombo_embed.store")

# Keys of SQLAlchemy's execution options and of its `info` per connection.
WRITING = "kombo_embed_writing"
FILE = "kombo_embed_file"
COMMITTED = "kombo_embed_committed"
WAL_PAUSES_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
FILE_REPLACED = "the database file was deleted or replaced while it was open"

FileIdentity = tuple[int, int]


class Sqlite:
    """One database file. A commit to a file that was deleted meanwhile counts as failed."""

    errors = (SQLAlchemyError, OSError, sqlite3.Error)
    remedy = "Check KOMBO_DATABASE_URL, its disk and its permissions."
    # The driver's thread cannot be interrupted; SQLite itself waits no longer than its busy timeout.
    deadline_seconds = None
    migrates_on_open = True

    def __init__(self, url: str, *, busy_seconds: float) -> None:
        self._busy_seconds = busy_seconds
        self.engine: AsyncEngine = create_async_engine(
            url,
            connect_args={"timeout": busy_seconds, "factory": _MutedConnection},
            pool_timeout=busy_seconds,
            pool_reset_on_return=None,  # _reset does it
            hide_parameters=True,
        )
        name = self.engine.url.database
        is_file = name and name != ":memory:" and not name.startswith("file:")
        self._path = Path(name).absolute() if name and is_file else None
        self._was_open = False
        event.listen(self.engine.sync_engine, "do_connect", self._refuse_new_file)
        event.listen(self.engine.sync_engine, "connect", self._prepare)
        event.listen(self.engine.sync_engine, "checkout", self._verify_file)
        event.listen(self.engine.sync_engine, "begin", _begin)
        event.listen(self.engine.sync_engine, "reset", _reset)
        self._writing_engine = self.engine.execution_options(**{WRITING: True})
        # A queue within the process is fair and needs no polling, unlike SQLite's busy timeout.
        self._writer_lock = asyncio.Lock()

    def verify_settings(self) -> None:
        """Raise `ConfigurationError` if the file's folder is missing: SQLite creates only the file."""
        if self._path is not None and not self._path.parent.is_dir():
            raise ConfigurationError(
                "kombo-embed cannot start: the folder of KOMBO_DATABASE_URL does not exist: "
                f"{self._path.parent}"
            )

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a transaction that only reads."""
        return _transaction(self.engine)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that may write; when it has ended, its changes are on disk."""
        async with asyncio.timeout(self._busy_seconds):
            await self._writer_lock.acquire()
        try:
            async with _transaction(self._writing_engine) as connection:
                yield connection
                opened = connection.info.get(FILE)
            # Checked after the commit: if the file was deleted before, the commit is lost with it.
            if opened != self._file():
                raise sqlite3.OperationalError(FILE_REPLACED)
        finally:
            self._writer_lock.release()

    migrating = writing

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

    def _refuse_new_file(self, *_: object) -> None:
        # SQLite would create an empty file in place of the one that was deleted.
        if self._was_open and self._path is not None and self._file() is None:
            raise sqlite3.OperationalError(FILE_REPLACED)

    def _prepare(self, connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        # The driver would begin transactions by itself, and late; _begin does it.
        connection.isolation_level = None
        cursor = connection.cursor()
        try:
            cursor.execute(f"PRAGMA busy_timeout = {round(self._busy_seconds * 1000)}")
            _enable_wal(cursor)
            # FULL: what was answered to a browser or to Kombo survives a power cut (sqlite.org/wal.html).
            cursor.execute("PRAGMA synchronous = FULL")
        finally:
            cursor.close()
        record.info[FILE] = self._file()
        self._was_open = True

    def _verify_file(self, _connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
        if record.info.get(FILE) != self._file():
            logger.warning("store.replaced", extra={"error": FILE_REPLACED})
            raise InvalidatePoolError(FILE_REPLACED)

    def _file(self) -> FileIdentity | None:
        """Return which file is at the path now; None if there is none."""
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino


class _MutedConnection(sqlite3.Connection):
    """Mutes aiosqlite in the connection's own thread, where it logs each call with its parameters.

    aiosqlite opens and uses the connection in that thread, which does not see the caller's context.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - those of sqlite3.connect
        mute_thread()
        super().__init__(*args, **kwargs)


def _enable_wal(cursor: DBAPICursor) -> None:
    # If several processes convert a new file at once, SQLite refuses all but one without waiting.
    for pause_seconds in WAL_PAUSES_SECONDS:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            await_only(asyncio.sleep(pause_seconds))
        else:
            return
    cursor.execute("PRAGMA journal_mode = WAL")


@asynccontextmanager
async def _transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with engine.connect() as connection:
        async with connection.begin():
            yield connection
        connection.info[COMMITTED] = True


def _begin(connection: Connection) -> None:
    # IMMEDIATE: a transaction that begins by reading and writes later could fail half-way.
    writing = connection.get_execution_options().get(WRITING, False)
    # Straight to the driver: each call through SQLAlchemy's cursor costs several round trips to its thread.
    driver: Any = connection.connection.driver_connection
    await_only(driver.execute("BEGIN IMMEDIATE" if writing else "BEGIN"))


def _reset(connection: DBAPIConnection, record: ConnectionPoolEntry, state: PoolResetState) -> None:
    # After a commit nothing is left to roll back; otherwise something may be, whatever the driver reports.
    committed = record.info.pop(COMMITTED, False)
    if state.asyncio_safe and not committed and not state.transaction_was_reset:
        connection.rollback()
