"""Invalidations of links: written in the transaction that causes them, read by every process."""

from __future__ import annotations

import secrets
from datetime import datetime

from sqlalchemy import delete, insert, select

from kombo_embed.ports import Invalidation
from kombo_embed.store.tables import link_invalidations
from kombo_embed.store.transaction import Transaction


async def write(transaction: Transaction, origin_id: str | None) -> None:
    """Invalidate an origin id's links when the transaction commits; do nothing without an origin id."""
    if origin_id is None:
        return
    await transaction.connection.execute(
        insert(link_invalidations).values(
            environment=transaction.environment,
            drop_id=secrets.token_hex(16),
            origin_id=origin_id,
            dropped_at=transaction.now,
        )
    )


async def find(transaction: Transaction, *, after: int) -> list[Invalidation]:
    """Return the invalidations with row ids after this one, in order."""
    columns = link_invalidations.c
    query = (
        select(columns.id.label("row_id"), columns.drop_id.label("invalidation_id"), columns.origin_id)
        .where(columns.environment == transaction.environment, columns.id > after)
        .order_by(columns.id)
    )
    rows = await transaction.connection.execute(query)
    return [Invalidation(**row) for row in rows.mappings()]


async def prune(transaction: Transaction, *, before: datetime) -> None:
    """Delete the invalidations written before this time."""
    columns = link_invalidations.c
    await transaction.connection.execute(
        delete(link_invalidations).where(
            columns.environment == transaction.environment, columns.dropped_at < before
        )
    )
