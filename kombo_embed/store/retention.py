"""What is old enough to be forgotten. Integrations are not, deleted ones included: they stay for ever."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, and_, delete, or_, select

from kombo_embed.store.tables import (
    completions,
    malformed_events,
    minted_links,
    outbox,
    received_events,
)
from kombo_embed.store.transaction import Rows


@dataclass(frozen=True, slots=True)
class Kind:
    """Rows of one table: what tells them apart, and from when on they are old."""

    table: Table
    key: Column[Any]
    is_old: ColumnElement[bool]


Found = list[tuple[Kind, list[Any]]]


async def find(rows: Rows, *, before: datetime, limit: int) -> Found:
    """Up to ``limit`` rows of each kind that are older than this."""
    found: Found = []
    for kind in _kinds(before):
        query = select(kind.key).where(kind.table.c.environment == rows.environment, kind.is_old).limit(limit)
        keys = list((await rows.connection.execute(query)).scalars())
        if keys:
            found.append((kind, keys))
    return found


async def remove(rows: Rows, found: Found) -> int:
    """Delete these rows, those that are still old."""
    removed = 0
    for kind, keys in found:
        ours = kind.table.c.environment == rows.environment
        result = await rows.connection.execute(
            delete(kind.table).where(ours, kind.key.in_(keys), kind.is_old)
        )
        removed += result.rowcount
    return removed


def _kinds(before: datetime) -> list[Kind]:
    tokens, received, bodies = completions.c, received_events.c, malformed_events.c
    done = or_(outbox.c.delivered_at.is_not(None), outbox.c.given_up_at.is_not(None))
    # Due for so long: nobody has handlers for it.
    unhandled = outbox.c.due_at < before
    links = and_(minted_links.c.expires_at < before, minted_links.c.watch_until.is_(None))
    return [
        Kind(received_events, received.event_id, received.received_at < before),
        Kind(completions, tokens.activation_token_sha256, tokens.completed_at < before),
        Kind(minted_links, minted_links.c.id, links),
        Kind(outbox, outbox.c.id, and_(outbox.c.occurred_at < before, or_(done, unhandled))),
        Kind(malformed_events, bodies.body_sha256, bodies.received_at < before),
    ]
