"""Invalidations of links and lists: written in the transaction that causes them, read by every process.

A row is read by its number, with the rows of other environments: what is read depends on what is new, and a
number that is missing belongs to no environment yet.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from itertools import takewhile
from typing import Any

from sqlalchemy import CursorResult, delete, func, insert, select

from kombo_embed.ports import Invalidation, InvalidationPage
from kombo_embed.store.database import Database, read_only, run_to_completion
from kombo_embed.store.tables import link_invalidations
from kombo_embed.store.transaction import Connection, Transaction

LATE_ROWS = 1000  # more than PostgreSQL has transactions that have numbered a row and not committed it
COLUMNS = link_invalidations.c
INSERT = insert(link_invalidations)  # built once, since it is executed often
READ = select(COLUMNS.id, COLUMNS.environment, COLUMNS.drop_id, COLUMNS.origin_id, COLUMNS.only_lists)


async def write(transaction: Transaction) -> list[Invalidation]:
    """Write the transaction's changes. Call it last: until the commit, the numbers are missing to others."""
    written = [
        Invalidation(0, secrets.token_hex(16), origin_id, only_lists)
        for origin_id, only_lists in transaction.changes.items()
    ]
    if written:
        rows = [
            {
                "environment": transaction.environment,
                "drop_id": one.invalidation_id,
                "origin_id": one.origin_id,
                "dropped_at": transaction.now,
                "only_lists": one.only_lists,
            }
            for one in written
        ]
        await transaction.connection.execute(INSERT, rows)
    return written


class InvalidationLog:
    """The rows in the database: implements `kombo_embed.ports.InvalidationLog`."""

    def __init__(self, database: Database, *, environment: str) -> None:
        self._database = database
        self._environment = environment
        # SQLite has one writer, so its rows become visible in order.
        self.late_rows = LATE_ROWS if database.backend.engine.dialect.name == "postgresql" else 0

    @read_only
    async def find_position(self) -> int:
        """Return a row id up to which every row is visible, or never will be."""
        async with self._database.reading() as connection:
            greatest = (await connection.execute(select(func.max(COLUMNS.id)))).scalar_one() or 0
            return max(0, greatest - self.late_rows)

    @read_only
    async def find(self, *, after: int, limit: int) -> InvalidationPage:
        """Return the first rows with ids after this one, in order."""
        query = READ.where(COLUMNS.id > after).order_by(COLUMNS.id).limit(limit)
        async with self._database.reading() as connection:
            return self._page(await connection.execute(query))

    @read_only
    async def find_late(self, row_ids: Sequence[int]) -> InvalidationPage:
        """Return those of these rows that are visible."""
        query = READ.where(COLUMNS.id.in_(row_ids)).order_by(COLUMNS.id)
        async with self._database.reading() as connection:
            return self._page(await connection.execute(query))

    @run_to_completion
    async def prune(self, *, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` of the oldest rows, of any environment, if they are older than this."""
        async with self._database.reading() as connection:
            if not await _find_old(connection, before=before, limit=1):
                return 0
        async with self._database.writing() as connection:
            old = await _find_old(connection, before=before, limit=limit)
            if old:
                await connection.execute(delete(link_invalidations).where(COLUMNS.id <= old[-1]))
            return len(old)

    def _page(self, rows: CursorResult[Any]) -> InvalidationPage:
        page = InvalidationPage([], [])
        for row in rows:
            page.row_ids.append(row.id)
            if row.environment == self._environment:
                page.invalidations.append(Invalidation(row.id, row.drop_id, row.origin_id, row.only_lists))
        return page


async def _find_old(connection: Connection, *, before: datetime, limit: int) -> list[int]:
    """Return the oldest rows up to the first one that is not old: times are in about this order."""
    query = select(COLUMNS.id, COLUMNS.dropped_at).where(COLUMNS.id > 0).order_by(COLUMNS.id)
    rows = await connection.execute(query.limit(limit))
    return [row.id for row in takewhile(lambda row: row.dropped_at < before, rows)]
