"""PostgreSQL, through asyncpg: concurrent writers, and connections that may break."""

from __future__ import annotations

import functools
import secrets
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, DateTime, Dialect, event, func, text
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from kombo_embed.database_url import PostgresUrl
from kombo_embed.errors import ConfigurationError
from kombo_embed.store.certificates import tls_arguments, verify_certificates
from kombo_embed.store.privileges import find_missing
from kombo_embed.store.sqlstates import (
    LOST_STATEMENT_STATES,
    READ_ONLY_STATE,
    TOO_MANY_CONNECTIONS,
    TRANSIENT_STATES,
    describe,
    remedy,
    state_of,
)
from kombo_embed.store.transaction import advisory_lock

# Connections of one process; docs/operations.md has the sum over all workers. A fixed number: more would be
# opened and closed again in each burst.
POOL_SIZE = 5
POOL_RECYCLE_SECONDS = 600  # the greatest age of a connection: firewalls drop idle ones without notice
# What was answered with 2xx is on disk whatever the server's default is; a stalled client does not hold its
# locks for ever. Behind a pooler, set per transaction: the next one may use another connection.
SETTINGS = """
SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
 ELSE current_setting('synchronous_commit') END, {is_local}),
 set_config('statement_timeout', '{busy_ms}', {is_local}),
 set_config('idle_in_transaction_session_timeout', CASE current_setting('idle_in_transaction_session_timeout')
 WHEN '0' THEN '{idle_ms}' ELSE current_setting('idle_in_transaction_session_timeout') END, {is_local})
"""

Result = TypeVar("Result")


class PostgreSql:
    """One PostgreSQL database. A connection that broke is replaced, and its work is retried.

    ``busy_seconds`` limits the wait for a connection, and each statement. Prepared statements are kept per
    connection, unless it leads to a pooler such as PgBouncer, where the next transaction may use another one.
    """

    migrates_on_open = False
    describe = staticmethod(describe)
    find_missing_privileges = staticmethod(find_missing)

    def __init__(self, url: PostgresUrl, *, busy_seconds: float) -> None:
        asyncpg = _driver()
        busy_ms = round(busy_seconds * 1000)
        settings = functools.partial(SETTINGS.format, busy_ms=busy_ms, idle_ms=2 * busy_ms)
        self._session_settings, self._settings = settings(is_local="false"), text(settings(is_local="true"))
        self._with_settings: weakref.WeakSet[object] = weakref.WeakSet()  # the connections without a pooler
        self._busy_seconds = busy_seconds
        self.deadline_seconds = busy_seconds * 2
        # SQLAlchemy before 2.1 does not wrap the driver's errors when it connects, and never the one for a
        # connection that broke while an operation was in progress.
        self._broken: type[Exception] = asyncpg.InternalClientError
        self.errors = (SQLAlchemyError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, self._broken)
        self._url, self._cache_statements = url, url.cache_statements
        self._connect = asyncpg.connect
        self.engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            isolation_level="READ COMMITTED",
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=busy_seconds,
            pool_recycle=POOL_RECYCLE_SECONDS,
            hide_parameters=True,
        )
        event.listen(self.engine.sync_engine, "do_connect", self._do_connect)
        event.listen(self.engine.sync_engine, "handle_error", self._drop_unusable)

    def _do_connect(self, dialect: Dialect, *_: object) -> DBAPIConnection:
        connection, is_direct = await_only(self._open())

        async def opened() -> Any:  # noqa: ANN401 - asyncpg has no types
            return connection

        # A random name cannot be that of another client's statement.
        keep = {"prepared_statement_name_func": lambda: f"kombo_embed_{secrets.token_hex(8)}"}
        unnamed = {"prepared_statement_cache_size": 0, "prepared_statement_name_func": str}
        driver: Any = dialect.dbapi
        adapted: DBAPIConnection = driver.connect(
            async_creator_fn=opened, **(keep if is_direct and self._cache_statements else unnamed)
        )
        return adapted

    async def _open(self) -> tuple[Any, bool]:
        """Return a new connection, and whether no pooler is between it and its server process."""
        connection = await self._connect(
            self._url.dsn,
            timeout=self._url.connect_timeout_seconds or self._busy_seconds,
            command_timeout=self._url.command_timeout_seconds,
            statement_cache_size=0,  # asyncpg's own cache; SQLAlchemy's replaces it
            **tls_arguments(self._url.tls),
        )
        try:
            # A pooler invents the process id that it sends at the login. In a transaction, since a statement
            # is two messages, between which a pooler could let another client use the connection.
            async with connection.transaction():
                process_id = await connection.fetchval("SELECT pg_backend_pid()")
            is_direct = process_id == connection.get_server_pid()
            if is_direct:
                await connection.execute(self._session_settings)
                self._with_settings.add(connection)
        except BaseException as error:
            is_broken = connection.is_closed()
            connection.terminate()
            if is_broken and isinstance(error, Exception):
                raise ConnectionResetError from error  # transient, as when the login itself breaks
            raise
        return connection, is_direct

    def _drop_unusable(self, context: ExceptionContext) -> None:
        """Drop connections that broke, that lead to a standby after a failover, or that lost a statement.

        The latter two work, but a standby cannot write, and named statements do not work behind a pooler.
        """
        if isinstance(context.original_exception, self._broken):
            context.is_disconnect = True
        state = state_of(context.original_exception)
        if state in LOST_STATEMENT_STATES:
            self._cache_statements = False
        if state == READ_ONLY_STATE or state in LOST_STATEMENT_STATES:
            context.is_disconnect = True

    def verify_settings(self) -> None:
        """Raise `ConfigurationError` if a certificate that the URL names is missing."""
        verify_certificates(self._url.tls)

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
            if (await connection.get_raw_connection()).driver_connection not in self._with_settings:
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
        if isinstance(error, OSError | self._broken):
            return not isinstance(error, TimeoutError)
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return True
        return state_of(error) in TRANSIENT_STATES

    def remedy(self, error: Exception) -> str:
        """Return what the operator can do about this error."""
        if isinstance(error, PoolTimeout):
            return (
                f"All {POOL_SIZE} connections of this process were busy for {self._busy_seconds:g} s: "
                "PostgreSQL is slow or waits for locks (see pg_stat_activity), or the app needs more workers."
            )
        if state_of(error) == TOO_MANY_CONNECTIONS:
            return (
                f"PostgreSQL has no free connection: each worker process uses up to {POOL_SIZE}. Run fewer "
                "workers, raise max_connections, or use PgBouncer."
            )
        return remedy(error, role=self._url.user)


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
