"""The engine under the store: how SQLite is opened, how transactions begin, what its errors become.

Nothing here reaches a log: statements carry emails, and the drivers would write them at DEBUG.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from kombo_embed.errors import ConfigurationError, StoreUnavailable

logger = logging.getLogger("kombo_embed.store")

BUSY_TIMEOUT = 5  # seconds to wait for another process's write
LOGGING_NAME = "kombo_embed"
WRITING = "kombo_embed_writing"


Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")


class HasDatabase(Protocol):
    """A class whose methods run on a database."""

    _database: Database


Owner = TypeVar("Owner", bound=HasDatabase)


class Database:
    """One SQLite database. Open connections lazily; close with `aclose`."""

    def __init__(self, url: str) -> None:
        _silence_foreign_loggers()
        self._engine = create_async_engine(
            url,
            connect_args={"timeout": BUSY_TIMEOUT},
            pool_timeout=BUSY_TIMEOUT,
            hide_parameters=True,
            logging_name=LOGGING_NAME,
            pool_logging_name=LOGGING_NAME,
        )
        event.listen(self._engine.sync_engine, "connect", _prepare_connection)
        event.listen(self._engine.sync_engine, "begin", _begin)
        self._writer = self._engine.execution_options(**{WRITING: True})
        self._work: set[asyncio.Task[Any]] = set()
        # SQLite has one writer at a time. Waiting in line here is fair and costs no polling.
        self._writing = asyncio.Lock()

    def verify_folder(self) -> None:
        """Return if the folder of the database file exists: SQLite makes the file, not the folder.

        Raises:
            ConfigurationError: It does not.
        """
        name = self._engine.url.database
        if name and name != ":memory:" and not name.startswith("file:"):
            folder = Path(name).absolute().parent
            if not folder.is_dir():
                raise ConfigurationError(
                    f"kombo-embed cannot start: the folder of KOMBO_DATABASE_URL does not exist: {folder}"
                )

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that only reads.

        Raises:
            StoreUnavailable: The database cannot be used.
        """
        with _converted_errors():
            async with self._engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that may write; what it wrote is on disk when it ends.

        Raises:
            StoreUnavailable: The database cannot be used; nothing was written.
        """
        with _converted_errors():
            async with asyncio.timeout(BUSY_TIMEOUT):
                await self._writing.acquire()
            try:
                async with self._writer.begin() as connection:
                    yield connection
            finally:
                self._writing.release()

    async def finish(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a piece of work to its end, also if the caller is cancelled meanwhile.

        A transaction that is cancelled half-way could keep the database locked for everybody.
        """
        task = asyncio.get_running_loop().create_task(work, name="kombo-embed transaction")
        self._work.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Close all connections, when what is under way has ended."""
        await asyncio.gather(*self._work, return_exceptions=True)
        await self._engine.dispose()

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._work.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that a failure whose caller left is not reported as lost


def finishing(
    method: Callable[Concatenate[Owner, Parameters], Coroutine[Any, Any, Result]],
) -> Callable[Concatenate[Owner, Parameters], Coroutine[Any, Any, Result]]:
    """Make a method of a class that has a ``_database`` run to its end; see `Database.finish`."""

    async def run(self: Owner, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return await self._database.finish(method(self, *args, **kwargs))

    functools.update_wrapper(run, method)
    return run


def _prepare_connection(connection: DBAPIConnection, record: object) -> None:
    del record
    # The driver would begin transactions by itself, and late; _begin does it.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT * 1000}")
        cursor.execute("PRAGMA journal_mode = WAL")
        # FULL: what was answered to a browser or to Kombo survives a power cut (sqlite.org/wal.html).
        cursor.execute("PRAGMA synchronous = FULL")
    finally:
        cursor.close()


def _begin(connection: Connection) -> None:
    # IMMEDIATE: a transaction that begins by reading and writes later could fail half-way.
    writing = connection.get_execution_options().get(WRITING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextmanager
def _converted_errors() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        cause = getattr(error, "orig", None) or error
        logger.warning("store.unavailable: %s", _reason(cause))
        raise StoreUnavailable(
            "The database cannot be used now. Check KOMBO_DATABASE_URL, its disk and its permissions."
        ) from None


def _reason(cause: BaseException) -> str:
    # SQLite's words for what is wrong with the database are fixed texts; other errors could quote values.
    name = type(cause).__name__
    return f"{name}: {cause}" if isinstance(cause, sqlite3.OperationalError) else name


class _HidesOurStatements(logging.Filter):
    """aiosqlite logs each call with all its arguments; ours, told by the table names, go without them."""

    def filter(self, record: logging.LogRecord) -> bool:
        arguments: tuple[Any, ...] = record.args if isinstance(record.args, tuple) else ()
        return not any(_is_ours(argument) for argument in arguments)


def _is_ours(argument: object) -> bool:
    if isinstance(argument, functools.partial):
        return any(isinstance(part, str) and "kombo_embed" in part for part in argument.args)
    return False


_filter = _HidesOurStatements()


def _silence_foreign_loggers() -> None:
    logging.getLogger("aiosqlite").addFilter(_filter)
    for name in ("sqlalchemy.engine.Engine", "sqlalchemy.pool.impl.AsyncAdaptedQueuePool"):
        logging.getLogger(f"{name}.{LOGGING_NAME}").setLevel(logging.WARNING)
