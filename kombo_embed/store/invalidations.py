"""Which origin ids' links ended: written in the transaction that ended them, read by every process."""

from __future__ import annotations

import secrets
from datetime import datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kombo_embed.ports import Invalidation
from kombo_embed.store.integrations import Records
from kombo_embed.store.tables import link_invalidations


async def write(records: Records, origin_id: str | None) -> None:
    """Add to the transaction under way that it ends an origin id's links; nothing where there is no id."""
    if origin_id is None:
        return
    await records.connection.execute(
        insert(link_invalidations).values(
            environment=records.environment,
            invalidation_id=secrets.token_hex(16),
            origin_id=origin_id,
            dropped_at=records.now,
        )
    )


async def find(connection: AsyncConnection, environment: str, *, after: int) -> list[Invalidation]:
    """The environment's drops with ids after this one, in the order of their ids."""
    columns = link_invalidations.c
    query = (
        select(columns.id, columns.invalidation_id, columns.origin_id)
        .where(columns.environment == environment, columns.id > after)
        .order_by(columns.id)
    )
    return [Invalidation(*row) for row in await connection.execute(query)]


async def prune(connection: AsyncConnection, environment: str, *, before: datetime) -> None:
    """Delete the environment's drops that were written before this moment."""
    await connection.execute(
        delete(link_invalidations).where(
            link_invalidations.c.environment == environment, link_invalidations.c.dropped_at < before
        )
    )
