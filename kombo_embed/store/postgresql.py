"""PostgreSQL, through asyncpg: concurrent writers, and connections that may break."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, DateTime, event, func, make_url, text
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from kombo_embed.errors import ConfigurationError
from kombo_embed.store.transaction import advisory_lock

POOL_SIZE = 5  # connections that are kept
POOL_OVERFLOW = 5  # connections that are opened beside them while all are busy
POOL_RECYCLE_SECONDS = 600  # the greatest age of an idle connection: firewalls drop old ones without notice
# The URL's parameters, of asyncpg and one of SQLAlchemy, that have to be numbers; in a URL all are texts.
NUMBERS = {
    "command_timeout",
    "max_cacheable_statement_size",
    "max_cached_statement_lifetime",
    "prepared_statement_cache_size",
    "statement_cache_size",
}
# Appendix A of PostgreSQL's manual: states in which the transaction was rolled back and may be run again.
TRANSIENT_STATES = {
    "0A000",  # a cached plan does not fit the table any more, after a migration
    "23505",  # another transaction inserted the same key first
    "40001",  # serialization failure
    "40P01",  # deadlock
    "53300",  # too many connections
    "57P01",  # the server is shutting down, or an administrator ended this connection
    "57P02",  # the server crashed
    "57P03",  # the server is starting
}
READ_ONLY_STATE = "25006"
# Set per transaction, since behind PgBouncer the next one may use another connection. What was answered with
# 2xx is on disk whatever the server's default is; a stalled client does not hold its locks for ever.
SETTINGS = """
SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
 ELSE current_setting('synchronous_commit') END, true),
 set_config('statement_timeout', '{busy_ms}', true),
 set_config('idle_in_transaction_session_timeout', '{idle_ms}', true)
"""

Result = TypeVar("Result")


class PostgreSql:
    """One PostgreSQL database. A connection that broke is replaced, and its work is retried.

    ``busy_seconds`` limits the wait for a connection, and each statement.
    """

    remedy = (
        "Check that PostgreSQL runs, and that KOMBO_DATABASE_URL names the right host, user, password and "
        "database."
    )
    migrates_on_open = False

    def __init__(self, url: str, *, busy_seconds: float) -> None:
        asyncpg = _driver()
        numbers = _numbers_in(url, asyncpg)
        busy_ms = round(busy_seconds * 1000)
        self._settings = text(SETTINGS.format(busy_ms=busy_ms, idle_ms=2 * busy_ms))
        self.deadline_seconds = busy_seconds * 2
        # SQLAlchemy before 2.1 does not wrap the driver's errors when it connects.
        self.errors = (SQLAlchemyError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
        self.engine: AsyncEngine = create_async_engine(
            url,
            connect_args={
                **numbers,
                "timeout": busy_seconds,
                "server_settings": {"application_name": "kombo-embed"},
                **_unnamed_statements(numbers),
            },
            isolation_level="READ COMMITTED",
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_timeout=busy_seconds,
            pool_recycle=POOL_RECYCLE_SECONDS,
            hide_parameters=True,
        )
        event.listen(self.engine.sync_engine, "handle_error", _leave_standby)

    def verify_settings(self) -> None:
        """Do nothing: only connecting shows whether the URL is right."""

    async def run(self, work: Callable[[], Coroutine[Any, Any, Result]], *, reading: bool) -> Result:
        """Run work; readers and writers do not wait for each other."""
        del reading
        return await work()

    async def aclose(self) -> None:
        """Close all connections."""
        await self.engine.dispose()

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a transaction that only reads."""
        return self.engine.begin()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that may write; when it has ended, its changes are on disk."""
        async with self.engine.begin() as connection:
            await connection.execute(self._settings)
            yield connection

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that changes tables, one at a time over all processes."""
        async with self.engine.begin() as connection:
            await advisory_lock(connection, "migrate")
            yield connection

    def time_after(self, now: datetime, *, seconds: float) -> ColumnElement[datetime]:
        """Return the time ``seconds`` from the server's now: the machines' clocks may differ."""
        del now
        return func.statement_timestamp(type_=DateTime(timezone=True)) + timedelta(seconds=seconds)

    def is_transient(self, error: Exception) -> bool:
        """Return whether the connection broke, could not be had, or lost against another transaction."""
        if isinstance(error, OSError):
            return not isinstance(error, TimeoutError)
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return True
        return _state(error) in TRANSIENT_STATES

    def describe(self, error: Exception) -> str:
        """Return the error's type and SQLSTATE; PostgreSQL's message could quote values."""
        wrapped = getattr(error, "orig", None)
        name = type(wrapped.__cause__ or wrapped if wrapped else error).__name__
        state = _state(error)
        return f"{name} ({state})" if state else name


def _leave_standby(context: ExceptionContext) -> None:
    """Drop the connections to a server that a failover made a standby: they work, but cannot write."""
    if _state(context.original_exception) == READ_ONLY_STATE:
        context.is_disconnect = True


def _driver() -> ModuleType:
    try:
        import asyncpg  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise ConfigurationError(
            "kombo-embed cannot start: KOMBO_DATABASE_URL names PostgreSQL, which needs one more package: "
            "install kombo-embed with its extra 'postgres'."
        ) from None
    driver: ModuleType = asyncpg
    return driver


def _numbers_in(url: str, asyncpg: ModuleType) -> dict[str, int]:
    """Return the URL's parameters that have to be numbers; verify that asyncpg has the others."""
    query = make_url(url).query
    known = {*inspect.signature(asyncpg.connect).parameters, *NUMBERS}
    wrong = {name for name in NUMBERS & query.keys() if not str(query[name]).isdecimal()}
    if unusable := sorted(wrong | (query.keys() - known)):
        raise ConfigurationError(
            "kombo-embed cannot start: KOMBO_DATABASE_URL has parameters that asyncpg cannot use: "
            f"{', '.join(unusable)}"
        )
    return {name: int(str(query[name])) for name in NUMBERS & query.keys()}


def _unnamed_statements(numbers: dict[str, int]) -> dict[str, Any]:
    """Return the option for unnamed statements: behind PgBouncer, named ones would stay on a connection."""
    cached = numbers.get("prepared_statement_cache_size", 1)
    return {} if cached else {"prepared_statement_name_func": str}


def _state(error: BaseException) -> str | None:
    cause = getattr(error, "orig", None) or error
    state = getattr(cause, "sqlstate", None)
    return state if isinstance(state, str) else None
