"""Which origin ids' links ended: written in the transaction that ended them, read by every process."""

from __future__ import annotations

import secrets
from datetime import datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kombo_embed.models import LinkDrop
from kombo_embed.store.records import Records
from kombo_embed.store.tables import dropped_links


async def write(records: Records, origin_id: str | None) -> None:
    """Add to the transaction under way that it ends an origin id's links; nothing where there is no id."""
    if origin_id is None:
        return
    await records.connection.execute(
        insert(dropped_links).values(
            environment=records.environment,
            drop_id=secrets.token_hex(16),
            origin_id=origin_id,
            dropped_at=records.now,
        )
    )


async def find(connection: AsyncConnection, environment: str, *, after: int) -> list[LinkDrop]:
    """The environment's drops with ids after this one, in the order of their ids."""
    columns = dropped_links.c
    query = (
        select(columns.id, columns.drop_id, columns.origin_id)
        .where(columns.environment == environment, columns.id > after)
        .order_by(columns.id)
    )
    return [LinkDrop(*row) for row in await connection.execute(query)]


async def prune(connection: AsyncConnection, environment: str, *, before: datetime) -> None:
    """Delete the environment's drops that were written before this moment."""
    await connection.execute(
        delete(dropped_links).where(
            dropped_links.c.environment == environment, dropped_links.c.dropped_at < before
        )
    )
