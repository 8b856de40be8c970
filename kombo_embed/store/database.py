"""The database under the store: transactions, deadlines, retries, error conversion and the log of outages."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar
from urllib.parse import parse_qs, urlsplit

import stamina

from kombo_embed import database_url
from kombo_embed.database_url import PostgresUrl, SqliteUrl
from kombo_embed.errors import ConfigurationError, StoreUnavailable
from kombo_embed.logs import mute_loggers, muted
from kombo_embed.store.postgresql import PostgreSql
from kombo_embed.store.shared_pools import shared_pools
from kombo_embed.store.sqlite import Sqlite
from kombo_embed.store.transaction import Connection

logger = logging.getLogger("kombo_embed.store")

BUSY_SECONDS = 5.0  # how long to wait for another writer, a free connection, or an answer of the database
ATTEMPTS = 5  # of one piece of work, within its deadline
RECOVERED_AFTER_SECONDS = 5.0  # without a failure: the database may come and go
# At DEBUG they log statements, parameters and rows, which hold emails; stamina logs each retry.
LOGGERS = (
    "sqlalchemy.engine.Engine",
    "sqlalchemy.pool.impl.AsyncAdaptedQueuePool",
    "sqlalchemy.pool.impl.QueuePool",
    "stamina",
)

Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")
Work = Callable[[], Coroutine[Any, Any, Result]]


class HasDatabase(Protocol):
    """A class whose methods use a database."""

    _database: Database


Owner = TypeVar("Owner", bound=HasDatabase)


class Database:
    """One database, SQLite or PostgreSQL. Connects lazily; close it with `aclose`.

    Transactions and work raise `StoreUnavailable` if the database cannot be used; they have changed nothing
    then, so the work has to be done again. Raises `ConfigurationError` if the driver is missing, or does not
    have a parameter of the URL.
    """

    def __init__(
        self, url: str, *, busy_seconds: float = BUSY_SECONDS, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        mute_loggers(*LOGGERS)
        self._url, self._busy_seconds = url, busy_seconds
        self.backend = self._join()
        self._outages = _OutageLog(monotonic)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    @property
    def name(self) -> str:
        """Return what distinguishes this database from others, without its user and password."""
        parts = parse_url(self._url)
        if isinstance(parts, SqliteUrl):
            return str(parts.file)
        dsn = urlsplit(parts.dsn)
        hosts = dsn.netloc.rpartition("@")[2] or str(parse_qs(dsn.query).get("host"))
        return f"{hosts}{dsn.path}"

    def reading(self) -> AbstractAsyncContextManager[Connection]:
        """Open a transaction that only reads."""
        return self._transaction(self.backend.reading())

    def writing(self) -> AbstractAsyncContextManager[Connection]:
        """Open a transaction that may write; when it has ended, its changes are on disk."""
        return self._transaction(self.backend.writing())

    def migrating(self) -> AbstractAsyncContextManager[Connection]:
        """Open a transaction that changes tables, one at a time over all processes."""
        return self._transaction(self.backend.migrating())

    async def run_to_completion(
        self,
        work: Work[Result],
        *,
        reading: bool = False,
        then: Callable[[Result], Awaitable[None]] | None = None,
    ) -> Result:
        """Run a piece of work to its end, even if the caller is cancelled meanwhile.

        A transaction that is cancelled half-way could leave the database locked. Work that lost against
        another transaction, or whose connection broke, is retried within the deadline. With ``reading``, it
        opens only transactions that read; on SQLite it does not wait for writers then. ``then`` is called
        with the result, before the caller gets it, and even if the caller is cancelled.
        """
        if self._closed:
            # Nothing would close a connection that is opened from now on.
            raise StoreUnavailable("The database was closed: the app is shutting down.")
        task = asyncio.get_running_loop().create_task(
            self._run(work, reading=reading, then=then), name="kombo-embed transaction"
        )
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def open(self) -> None:
        """Allow work, also after `aclose`."""
        if self._closed:
            self.backend = self._join()
        self._closed = False

    async def aclose(self) -> None:
        """Close all connections once the running work has ended; reject later work."""
        while self._tasks:
            # Not gather(): with tasks that have all ended it returns without letting them be discarded.
            await asyncio.wait(self._tasks)
        self._closed = True
        if shared_pools.leave(self, self.backend):
            with muted():
                await self.backend.aclose()

    def _join(self) -> Sqlite | PostgreSql:
        parts = parse_url(self._url)
        if isinstance(parts, SqliteUrl):
            return Sqlite(parts, busy_seconds=self._busy_seconds)
        key = (self._url, self._busy_seconds)
        return shared_pools.join(self, key, lambda: PostgreSql(parts, busy_seconds=self._busy_seconds))

    async def _run(
        self, work: Work[Result], *, reading: bool, then: Callable[[Result], Awaitable[None]] | None
    ) -> Result:
        try:
            result = await self._retry(work, reading=reading)
        except StoreUnavailable as error:
            self._outages.failed(error)
            raise
        self._outages.succeeded()
        if then is not None:
            await then(result)
        return result

    async def _retry(self, work: Work[Result], *, reading: bool) -> Result:
        retries = stamina.retry_context(
            on=_may_retry, attempts=ATTEMPTS, timeout=None, wait_initial=0.05, wait_max=1, wait_jitter=0.1
        )
        with muted(), self._converted_errors():
            async with asyncio.timeout(self.backend.deadline_seconds):
                async for attempt in retries:
                    with attempt:
                        return await self.backend.run(work, reading=reading)
        raise AssertionError("stamina makes at least one attempt")

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not log a failure whose caller was cancelled

    @asynccontextmanager
    async def _transaction(
        self, transaction: AbstractAsyncContextManager[Connection]
    ) -> AsyncIterator[Connection]:
        with muted(), self._converted_errors():
            async with transaction as connection:
                yield connection

    @contextmanager
    def _converted_errors(self) -> Iterator[None]:
        try:
            yield
        except self.backend.errors as error:
            described, remedy = self.backend.describe(error), self.backend.remedy(error)
            raise StoreUnavailable(
                f"The database cannot be used now ({described}). {remedy}",
                retryable=self.backend.is_transient(error),
            ) from None


def parse_url(url: str) -> SqliteUrl | PostgresUrl:
    """Return the parts of a database URL; raise `ConfigurationError` with the reason if it cannot be used."""
    try:
        return database_url.parse(url)
    except ValueError as error:
        raise ConfigurationError(f"kombo-embed cannot start: KOMBO_DATABASE_URL {error}") from None


class _OutageLog:
    """Logs the beginning and the end of each outage, once each."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._unavailable = False
        self._failed_at = -math.inf

    def failed(self, error: StoreUnavailable) -> None:
        self._failed_at = self._monotonic()
        level = logging.DEBUG if self._unavailable else logging.WARNING
        logger.log(level, "store.unavailable", extra={"error": str(error)})
        self._unavailable = True

    def succeeded(self) -> None:
        if self._unavailable and self._monotonic() - self._failed_at >= RECOVERED_AFTER_SECONDS:
            self._unavailable = False
            logger.warning("store.recovered")


Method = Callable[Concatenate[Owner, Parameters], Coroutine[Any, Any, Result]]


def run_to_completion(method: Method[Owner, Parameters, Result]) -> Method[Owner, Parameters, Result]:
    """Decorate a method of a class that has a ``_database``; see `Database.run_to_completion`.

    The method may run more than once: outside its transactions it must not change anything twice. It awaits
    nothing but its transactions.
    """
    return _run_in_database(method, reading=False)


def read_only(method: Method[Owner, Parameters, Result]) -> Method[Owner, Parameters, Result]:
    """Decorate a method that opens only transactions that read; otherwise as `run_to_completion`."""
    return _run_in_database(method, reading=True)


def _run_in_database(
    method: Method[Owner, Parameters, Result], *, reading: bool
) -> Method[Owner, Parameters, Result]:
    @functools.wraps(method)
    async def run(self: Owner, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        work = functools.partial(method, self, *args, **kwargs)
        return await self._database.run_to_completion(work, reading=reading)

    return run


def _may_retry(error: Exception) -> bool:
    return isinstance(error, StoreUnavailable) and error.retryable
