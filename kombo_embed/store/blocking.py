"""Runs the store's coroutines to their end in one thread, on a connection that blocks.

The same code serves PostgreSQL, where its statements wait for the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from sqlalchemy import Connection, CursorResult, Dialect, Executable

Result = TypeVar("Result")


class BlockingConnection:
    """A connection with those methods of `AsyncConnection` that the store uses. They block."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def dialect(self) -> Dialect:
        """Return SQLAlchemy's dialect."""
        return self._connection.dialect

    async def execute(
        self,
        statement: Executable,
        parameters: Any = None,  # noqa: ANN401 - as SQLAlchemy's
        /,
    ) -> CursorResult[Any]:
        """Execute a statement."""
        return self._connection.execute(statement, parameters)

    async def exec_driver_sql(self, statement: str) -> CursorResult[Any]:
        """Execute a text as it is."""
        return self._connection.exec_driver_sql(statement)

    async def run_sync(self, function: Callable[[Connection], Result], /) -> Result:
        """Call a function with SQLAlchemy's connection."""
        return function(self._connection)


def run_in_this_thread(work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run work that never waits for the event loop, since its connection blocks."""
    coroutine = work()
    try:
        coroutine.send(None)
    except StopIteration as ended:
        result: Result = ended.value
        return result
    coroutine.close()
    raise AssertionError("work on SQLite awaits nothing but its transactions")
