"""SQLite: a file that all processes of one machine share, with one writer at a time."""

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
from kombo_embed.store.backend import PATIENCE
from kombo_embed.store.quiet import LOGGING_NAME
from kombo_embed.store.tables import UtcDateTime

logger = logging.getLogger("kombo_embed.store")

WRITING = "kombo_embed_writing"
FILE = "kombo_embed_file"
ENDED = "kombo_embed_ended"
WAL_PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # seconds
GONE = "the database file was deleted or replaced while it was open"

Identity = tuple[int, int]


class Sqlite:
    """One database file. What is written to a file that was deleted meanwhile is not taken for written."""

    errors = (SQLAlchemyError, OSError, sqlite3.Error)
    remedy = "Check KOMBO_DATABASE_URL, its disk and its permissions."
    # The driver's thread cannot be stopped; SQLite itself waits no longer than its busy timeout.
    deadline = None
    migrates_at_start = True

    def __init__(self, url: str) -> None:
        self.engine: AsyncEngine = create_async_engine(
            url,
            connect_args={"timeout": PATIENCE},
            pool_timeout=PATIENCE,
            pool_reset_on_return=None,  # _reset does it
            hide_parameters=True,
            logging_name=LOGGING_NAME,
            pool_logging_name=LOGGING_NAME,
        )
        name = self.engine.url.database
        in_a_file = name and name != ":memory:" and not name.startswith("file:")
        self._path = Path(name).absolute() if name and in_a_file else None
        self._was_open = False
        event.listen(self.engine.sync_engine, "do_connect", self._refuse_to_start_afresh)
        event.listen(self.engine.sync_engine, "connect", self._prepare)
        event.listen(self.engine.sync_engine, "checkout", self._verify_kept)
        event.listen(self.engine.sync_engine, "begin", _begin)
        event.listen(self.engine.sync_engine, "reset", _reset)
        self._writer = self.engine.execution_options(**{WRITING: True})
        # SQLite has one writer at a time. Waiting in line here is fair and costs no polling.
        self._line = asyncio.Lock()

    def verify_settings(self) -> None:
        """Return if the folder of the file exists: SQLite makes the file, not the folder.

        Raises:
            ConfigurationError: It does not.
        """
        if self._path is not None and not self._path.parent.is_dir():
            raise ConfigurationError(
                "kombo-embed cannot start: the folder of KOMBO_DATABASE_URL does not exist: "
                f"{self._path.parent}"
            )

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection in a transaction that only reads."""
        return _transaction(self.engine)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that may write; what it wrote is on disk when it ends."""
        async with asyncio.timeout(PATIENCE):
            await self._line.acquire()
        try:
            async with _transaction(self._writer) as connection:
                yield connection
                opened = connection.info.get(FILE)
            # Only now: a file that was deleted before the commit took the commit with it.
            if opened != self._file():
                raise sqlite3.OperationalError(GONE)
        finally:
            self._line.release()

    migrating = writing

    def moment(self, now: datetime, *, seconds_later: float) -> ColumnElement[datetime]:
        """So long after our own now: all who share the file are on this machine."""
        return literal(now + timedelta(seconds=seconds_later), UtcDateTime())

    def is_passing(self, error: Exception) -> bool:
        """Never: SQLite has waited for its lock already."""
        del error
        return False

    def reason(self, error: Exception) -> str:
        """SQLite's words for what is wrong with the file are fixed texts; other errors could quote values."""
        cause = getattr(error, "orig", None) or error
        name = type(cause).__name__
        return f"{name}: {cause}" if isinstance(cause, sqlite3.OperationalError) else name

    def _refuse_to_start_afresh(self, *_: object) -> None:
        # SQLite would make an empty file in the place of the one that was deleted.
        if self._was_open and self._path is not None and self._file() is None:
            raise sqlite3.OperationalError(GONE)

    def _prepare(self, connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        # The driver would begin transactions by itself, and late; _begin does it.
        connection.isolation_level = None
        cursor = connection.cursor()
        try:
            cursor.execute(f"PRAGMA busy_timeout = {PATIENCE * 1000}")
            _write_ahead(cursor)
            # FULL: what was answered to a browser or to Kombo survives a power cut (sqlite.org/wal.html).
            cursor.execute("PRAGMA synchronous = FULL")
        finally:
            cursor.close()
        record.info[FILE] = self._file()
        self._was_open = True

    def _verify_kept(self, _connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
        if record.info.get(FILE) != self._file():
            logger.warning("store.replaced: %s", GONE)
            raise InvalidatePoolError(GONE)

    def _file(self) -> Identity | None:
        """Which file is at the path now; None where there is none."""
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino


def _write_ahead(cursor: DBAPICursor) -> None:
    # Of several that turn a new file over at once, SQLite refuses all but one without waiting.
    for pause in WAL_PAUSES:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            await_only(asyncio.sleep(pause))
        else:
            return
    cursor.execute("PRAGMA journal_mode = WAL")


@asynccontextmanager
async def _transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with engine.connect() as connection:
        async with connection.begin():
            yield connection
        connection.info[ENDED] = True


def _begin(connection: Connection) -> None:
    # IMMEDIATE: a transaction that begins by reading and writes later could fail half-way.
    writing = connection.get_execution_options().get(WRITING, False)
    # Straight to the driver: each thing that SQLAlchemy asks of it is a way to its thread and back.
    driver: Any = connection.connection.driver_connection
    await_only(driver.execute("BEGIN IMMEDIATE" if writing else "BEGIN"))


def _reset(connection: DBAPIConnection, record: ConnectionPoolEntry, state: PoolResetState) -> None:
    # After a commit there is nothing to take back; in all other cases there may be, whatever the driver says.
    committed = record.info.pop(ENDED, False)
    if state.asyncio_safe and not committed and not state.transaction_was_reset:
        connection.rollback()
