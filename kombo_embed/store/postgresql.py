"""PostgreSQL, through asyncpg: writers run beside each other, and connections come and go."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any

from sqlalchemy import ColumnElement, DateTime, event, func, make_url, text
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from kombo_embed.errors import ConfigurationError
from kombo_embed.store.backend import PATIENCE
from kombo_embed.store.locks import hold
from kombo_embed.store.quiet import LOGGING_NAME

POOL_SIZE = 5  # connections that are kept
POOL_OVERFLOW = 5  # connections that are opened beside them while all are busy
POOL_RECYCLE = 600  # seconds after which an idle connection is not trusted: firewalls forget them silently
# asyncpg's parameters and SQLAlchemy's one that are numbers; in a URL all are texts.
NUMBERS = {
    "command_timeout",
    "max_cacheable_statement_size",
    "max_cached_statement_lifetime",
    "prepared_statement_cache_size",
    "statement_cache_size",
}
# Appendix A of PostgreSQL's manual: states in which the transaction was undone and may be done again.
PASSING = {
    "0A000",  # a cached plan that does not fit the table any more: somebody migrated
    "23505",  # another transaction inserted the same first
    "40001",  # serialization failure
    "40P01",  # deadlock
    "53300",  # too many connections
    "57P01",  # the server is being shut down, or somebody ended this connection
    "57P02",  # the server crashed
    "57P03",  # the server is starting
}
# For this transaction alone, since behind PgBouncer the next one may be on another connection. What is
# answered 2xx is on disk whatever the server's default is; who stalls does not hold its locks for ever.
READ_ONLY = "25006"
SAFELY = text(
    "SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'"
    " ELSE current_setting('synchronous_commit') END, true),"
    f" set_config('statement_timeout', '{PATIENCE * 1000}', true),"
    f" set_config('idle_in_transaction_session_timeout', '{PATIENCE * 2000}', true)"
)


class PostgreSql:
    """One PostgreSQL database. A connection that broke is replaced, and its work is done again.

    Raises:
        ConfigurationError: asyncpg is missing, or cannot use a parameter of the URL.
    """

    remedy = (
        "Check that PostgreSQL runs, and that KOMBO_DATABASE_URL names the right host, user, password and "
        "database."
    )
    deadline = PATIENCE * 2.0
    migrates_at_start = False

    def __init__(self, url: str) -> None:
        asyncpg = _driver()
        numbers = _numbers_in(url, asyncpg)
        # SQLAlchemy before 2.1 lets the driver's own errors through when it connects.
        self.errors = (SQLAlchemyError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
        self.engine: AsyncEngine = create_async_engine(
            url,
            connect_args={
                **numbers,
                "timeout": PATIENCE,
                "server_settings": {"application_name": "kombo-embed"},
                **_nameless(numbers),
            },
            isolation_level="READ COMMITTED",
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_timeout=PATIENCE,
            pool_recycle=POOL_RECYCLE,
            hide_parameters=True,
            logging_name=LOGGING_NAME,
            pool_logging_name=LOGGING_NAME,
        )
        event.listen(self.engine.sync_engine, "handle_error", _leave_a_standby)

    def verify_settings(self) -> None:
        """Return: whether the database can be reached shows when it is."""

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection in a transaction that only reads."""
        return self.engine.begin()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that may write; what it wrote is on disk when it ends."""
        async with self.engine.begin() as connection:
            await connection.execute(SAFELY)
            yield connection

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that changes tables; others that want to wait until it ends."""
        async with self.engine.begin() as connection:
            await hold(connection, "migrate")
            yield connection

    def moment(self, now: datetime, *, seconds_later: float) -> ColumnElement[datetime]:
        """So long after the server's now: it is one for all machines, and theirs may differ."""
        del now
        return func.statement_timestamp(type_=DateTime(timezone=True)) + timedelta(seconds=seconds_later)

    def is_passing(self, error: Exception) -> bool:
        """Whether the connection broke, could not be had, or lost against another transaction."""
        if isinstance(error, OSError):
            return not isinstance(error, TimeoutError)
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return True
        return _state(error) in PASSING

    def reason(self, error: Exception) -> str:
        """The kind of error and its SQLSTATE; PostgreSQL's own words could quote values."""
        wrapped = getattr(error, "orig", None)
        name = type(wrapped.__cause__ or wrapped if wrapped else error).__name__
        state = _state(error)
        return f"{name} ({state})" if state else name


def _leave_a_standby(context: ExceptionContext) -> None:
    """After a failover, connections to what was the primary are of no use, though they live."""
    if _state(context.original_exception) == READ_ONLY:
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
    """The parameters of the URL that have to be numbers. The others pass through as they are."""
    query = make_url(url).query
    known = {*inspect.signature(asyncpg.connect).parameters, *NUMBERS}
    wrong = {name for name in NUMBERS & query.keys() if not str(query[name]).isdecimal()}
    if faults := sorted(wrong | (query.keys() - known)):
        raise ConfigurationError(
            "kombo-embed cannot start: KOMBO_DATABASE_URL has parameters that asyncpg cannot use: "
            f"{', '.join(faults)}"
        )
    return {name: int(str(query[name])) for name in NUMBERS & query.keys()}


def _nameless(numbers: dict[str, int]) -> dict[str, Any]:
    """Behind PgBouncer, clients share connections: a statement with a name would stay on one for ever."""
    cached = numbers.get("prepared_statement_cache_size", 1)
    return {} if cached else {"prepared_statement_name_func": str}


def _state(error: BaseException) -> str | None:
    cause = getattr(error, "orig", None) or error
    state = getattr(cause, "sqlstate", None)
    return state if isinstance(state, str) else None
