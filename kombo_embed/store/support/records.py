"""What the queries of support share: the database, the environment, and transactions on them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from kombo_embed.ports import Clock
from kombo_embed.store.database import Database
from kombo_embed.store.transaction import Transaction


class Records:
    """The records of one environment in a database."""

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
        return datetime.fromtimestamp(self._clock.time(), UTC)
