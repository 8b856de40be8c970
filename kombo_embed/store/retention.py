"""Deletes rows past their retention. Integrations are kept for ever, deleted ones included."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, and_, delete, exists, func, or_, select

from kombo_embed.store.lanes import AFTER_ALL, UNCLAIMED
from kombo_embed.store.tables import (
    audit,
    completions,
    deliveries,
    ended_deliveries,
    events,
    handlers,
    malformed_events,
    minted_links,
    outbox,
    received_events,
)
from kombo_embed.store.transaction import Transaction

OUTBOX_ROWS = 1000  # of the outbox of earlier versions, looked at in one batch
# They cannot be attributed to a customer, so an erasure does not remove them.
MALFORMED_RETENTION = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Kind:
    """The rows of one table: their key, and which of them are old."""

    table: Table
    key: Column[Any]
    is_old: ColumnElement[bool]


OldRows = list[tuple[Kind, list[Any]]]


async def find_old(
    transaction: Transaction, *, before: datetime, audit_before: datetime, limit: int
) -> OldRows:
    """Return the keys of up to ``limit`` old rows of each kind."""
    old: OldRows = []
    for kind in _kinds(before, audit_before, malformed_before=transaction.now - MALFORMED_RETENTION):
        is_old = and_(kind.table.c.environment == transaction.environment, kind.is_old)
        keys = await transaction.connection.execute(select(kind.key).where(is_old).limit(limit))
        if found := list(keys.scalars()):
            old.append((kind, found))
    return old


async def delete_old(transaction: Transaction, old: OldRows) -> int:
    """Delete those of these rows that are still old; return how many were deleted."""
    deleted = 0
    for kind, keys in old:
        if kind.table is events:
            # Without a handler for so long, it is not delivered. A handler that claims it now keeps it.
            unclaimed = deliveries.c.handler == UNCLAIMED, deliveries.c.event_row_id.in_(keys)
            ours = deliveries.c.environment == transaction.environment
            await transaction.connection.execute(delete(deliveries).where(ours, *unclaimed))
        is_old = and_(kind.table.c.environment == transaction.environment, kind.is_old)
        result = await transaction.connection.execute(delete(kind.table).where(kind.key.in_(keys), is_old))
        deleted += result.rowcount
        if kind.table is events:
            gone = ~exists().where(events.c.id == ended_deliveries.c.event_row_id)
            of_event = ended_deliveries.c.event_row_id.in_(keys)
            ours = ended_deliveries.c.environment == transaction.environment
            await transaction.connection.execute(delete(ended_deliveries).where(ours, of_event, gone))
    return deleted


def _kinds(before: datetime, audit_before: datetime, *, malformed_before: datetime) -> list[Kind]:
    tokens, received, bodies = completions.c, received_events.c, malformed_events.c
    is_closed = minted_links.c.watch_until.is_(None)
    return [
        Kind(received_events, received.event_id, received.received_at < before),
        Kind(completions, tokens.activation_token_sha256, tokens.completed_at < before),
        Kind(minted_links, minted_links.c.id, and_(minted_links.c.expires_at < before, is_closed)),
        Kind(events, events.c.id, and_(events.c.occurred_at < before, ~_is_pending())),
        Kind(outbox, outbox.c.id, _is_left_in_outbox(before)),
        # No delivery is written for a handler that was not seen for so long.
        Kind(handlers, handlers.c.handler, handlers.c.last_seen_at < before),
        Kind(malformed_events, bodies.body_sha256, bodies.received_at < max(before, malformed_before)),
        Kind(audit, audit.c.id, audit.c.at < audit_before),
    ]


def _is_pending() -> ColumnElement[bool]:
    pending = deliveries.alias("pending")
    return exists().where(
        pending.c.environment == events.c.environment,
        pending.c.event_row_id == events.c.id,
        pending.c.handler != UNCLAIMED,
    )


def _is_left_in_outbox(before: datetime) -> ColumnElement[bool]:
    is_finished = or_(outbox.c.delivered_at.is_not(None), outbox.c.given_up_at.is_not(None))
    has_no_handler = outbox.c.due_at < before  # due, and not taken for so long
    # Nothing is written into the outbox any more: its oldest rows have the smallest ids.
    first = outbox.alias("first")
    window = select(first.c.id).where(first.c.id > 0).order_by(first.c.id).limit(1).offset(OUTBOX_ROWS)
    is_first = outbox.c.id < func.coalesce(window.scalar_subquery(), AFTER_ALL)
    return and_(is_first, outbox.c.occurred_at < before, or_(is_finished, has_no_handler))
