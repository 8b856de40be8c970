"""The same tool connected twice by one customer: Kombo does not prevent it, so the host is told."""

from __future__ import annotations

from sqlalchemy import RowMapping

from kombo_embed.store.locks import hold
from kombo_embed.store.tables import integrations
from kombo_embed.store.transaction import Rows


async def tell(rows: Rows, row: RowMapping) -> None:
    """Tell of each integration that is like an older one of its origin id, tool and category, once.

    Called when a record is new, or when its origin id or its category has just become known.
    """
    if row["deleted_at"] is not None or row["origin_id"] is None or row["category"] is None:
        return
    await hold(rows.connection, rows.environment, "origin id", row["origin_id"])
    query = rows.live(
        integrations.c.origin_id == row["origin_id"],
        integrations.c.tool == row["tool"],
        integrations.c.category == row["category"],
        integrations.c.category_guessed.is_(False),
    )
    alike = list((await rows.connection.execute(query.order_by(integrations.c.id))).mappings())
    for place, newer in enumerate(alike):
        if place > 0 and newer["duplicate_told_at"] is None:
            # Its events are numbered while it is held, like all of an integration's.
            await hold(rows.connection, rows.environment, newer["integration_id"])
            older = alike[: place + 1]
            await rows.mark(newer, {"duplicate_told_at": rows.now})
            data: dict[str, object] = {
                "integration_ids": [one["integration_id"] for one in older],
                "public_ids": [one["public_id"] for one in older],
            }
            await rows.tell("integration.duplicate", newer, data)
