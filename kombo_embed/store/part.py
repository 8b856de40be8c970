"""What the parts of the store have in common: transactions on the rows of one Kombo environment."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

from kombo_embed.ports import Clock, utc_now
from kombo_embed.store.database import Database, read_only, run_to_completion
from kombo_embed.store.transaction import Transaction

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Work = Callable[Concatenate[Transaction, Parameters], Coroutine[Any, Any, Result]]


class StorePart:
    """A part of the store; its transactions raise `StoreUnavailable`."""

    def __init__(self, database: Database, *, environment: str, clock: Clock) -> None:
        self._database = database
        self._environment = environment
        self._clock = clock

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Transaction]:
        async with self._database.reading() as connection:
            yield Transaction(connection, self._environment, self._now())

    @asynccontextmanager
    async def _writing(self, actor: str | None = None) -> AsyncIterator[Transaction]:
        async with self._database.writing() as connection:
            yield Transaction(connection, self._environment, self._now(), actor)

    def _now(self) -> datetime:
        return utc_now(self._clock)


Method = Callable[Concatenate[StorePart, Parameters], Coroutine[Any, Any, Result]]


def reading(query: Work[Parameters, Result]) -> Method[Parameters, Result]:
    """Return the method of a `StorePart` that runs a query in a transaction of its own."""

    @functools.wraps(query)
    async def run(self: StorePart, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        async with self._reading() as transaction:
            return await query(transaction, *args, **kwargs)

    return read_only(run)


def writing(work: Work[Parameters, Result]) -> Method[Parameters, Result]:
    """Return the method that does work in a transaction of its own, which invalidates nothing."""

    @functools.wraps(work)
    async def run(self: StorePart, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        async with self._writing() as transaction:
            return await work(transaction, *args, **kwargs)

    return run_to_completion(run)
