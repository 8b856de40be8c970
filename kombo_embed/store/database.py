"""The database under the store: reading, writing, deadlines, second attempts, and what errors become.

Nothing here reaches a log: statements carry emails, and the drivers would write them at DEBUG.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import stamina
from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncConnection

from kombo_embed.errors import StoreUnavailable
from kombo_embed.store.backend import Backend
from kombo_embed.store.postgresql import PostgreSql
from kombo_embed.store.quiet import quietly, silence_foreign_loggers
from kombo_embed.store.reach import Reach
from kombo_embed.store.sqlite import Sqlite

ATTEMPTS = 5  # of one piece of work, within the deadline

Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")


class HasDatabase(Protocol):
    """A class whose methods run on a database."""

    _database: Database


Owner = TypeVar("Owner", bound=HasDatabase)


class Database:
    """One database, SQLite or PostgreSQL. Opens connections lazily; close with `aclose`.

    Args:
        url: SQLAlchemy's, ``sqlite+aiosqlite:///…`` or ``postgresql+asyncpg://…``.
        monotonic: Seconds on a clock that never goes back.

    Raises:
        ConfigurationError: The driver is missing, or the URL has parameters that it does not know.
    """

    def __init__(self, url: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        silence_foreign_loggers()
        self._backend: Backend = Sqlite(url) if url.startswith("sqlite") else PostgreSql(url)
        self._reach = Reach(monotonic)
        self._work: set[asyncio.Task[Any]] = set()
        self._closed = False

    @property
    def migrates_at_start(self) -> bool:
        """Whether a start brings the tables to this version, or only looks at them."""
        return self._backend.migrates_at_start

    def verify_settings(self) -> None:
        """Return if the URL leads to something that can be opened.

        Raises:
            ConfigurationError: It does not.
        """
        self._backend.verify_settings()

    def moment(self, now: datetime, *, seconds_later: float = 0.0) -> ColumnElement[datetime]:
        """So long after now, for statements: by the one clock of all who share the database.

        SQLite is on our machine, and ``now``, our own clock's, is theirs too; PostgreSQL has one of its own.
        """
        return self._backend.moment(now, seconds_later=seconds_later)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that only reads.

        Raises:
            StoreUnavailable: The database cannot be used.
        """
        async with self._converted(self._backend.reading()) as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that may write; what it wrote is on disk when it ends.

        Raises:
            StoreUnavailable: The database cannot be used; what was to be written has to be written again.
        """
        async with self._converted(self._backend.writing()) as connection:
            yield connection

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that changes tables, one at a time over all processes.

        Raises:
            StoreUnavailable: The database cannot be used; nothing was changed.
        """
        async with self._converted(self._backend.migrating()) as connection:
            yield connection

    async def finish(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Run a piece of work to its end, also if the caller is cancelled meanwhile.

        A transaction that is cancelled half-way could keep the database locked for everybody. Work that lost
        against another transaction, or whose connection broke, is done again, within the deadline.

        Raises:
            StoreUnavailable: The database cannot be used, or not in time, or was closed.
        """
        if self._closed:
            # A connection that is opened from now on would be closed by nobody.
            raise StoreUnavailable("The database was closed: the app is shutting down.")
        task = asyncio.get_running_loop().create_task(self._attempt(work), name="kombo-embed transaction")
        self._work.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def open(self) -> None:
        """Allow work, also after `aclose`."""
        self._closed = False

    async def aclose(self) -> None:
        """Close all connections, when what is under way has ended; later work is refused."""
        while self._work:
            await asyncio.gather(*self._work, return_exceptions=True)
        self._closed = True
        await self._backend.engine.dispose()

    async def _attempt(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        try:
            result = await self._attempts(work)
        except StoreUnavailable as error:
            self._reach.failed(error)
            raise
        self._reach.succeeded()
        return result

    async def _attempts(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        retries = stamina.retry_context(
            on=_may_retry, attempts=ATTEMPTS, timeout=None, wait_initial=0.05, wait_max=1, wait_jitter=0.1
        )
        with quietly(), self._converted_errors():
            async with asyncio.timeout(self._backend.deadline):
                async for attempt in retries:
                    with attempt:
                        return await work()
        raise AssertionError("stamina gives at least one attempt")

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._work.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that a failure whose caller left is not reported as lost

    @asynccontextmanager
    async def _converted(
        self, transaction: AbstractAsyncContextManager[AsyncConnection]
    ) -> AsyncIterator[AsyncConnection]:
        with self._converted_errors():
            async with transaction as connection:
                yield connection

    @contextmanager
    def _converted_errors(self) -> Iterator[None]:
        try:
            yield
        except self._backend.errors as error:
            raise StoreUnavailable(
                f"The database cannot be used now ({self._backend.reason(error)}). {self._backend.remedy}",
                retryable=self._backend.is_passing(error),
            ) from None


def finishing(
    method: Callable[Concatenate[Owner, Parameters], Coroutine[Any, Any, Result]],
) -> Callable[Concatenate[Owner, Parameters], Coroutine[Any, Any, Result]]:
    """Make a method of a class that has a ``_database`` run to its end; see `Database.finish`.

    What the method changes outside of its transactions must bear to be done twice.
    """

    async def run(self: Owner, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return await self._database.finish(lambda: method(self, *args, **kwargs))

    functools.update_wrapper(run, method)
    return run


def _may_retry(error: Exception) -> bool:
    return isinstance(error, StoreUnavailable) and error.retryable
