"""The registry of handlers: which processes have, which are missing, and the events that have none yet."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Executable, RowMapping, and_, delete, func, insert, select, union_all
from sqlalchemy.dialects import postgresql, sqlite

from kombo_embed.store import lanes
from kombo_embed.store.lanes import UNCLAIMED
from kombo_embed.store.tables import deliveries, ended_deliveries, handlers
from kombo_embed.store.transaction import Transaction

CLAIMED = 100  # events in one transaction, so that other writers wait only briefly
PARKED = 500  # as above
COUNTED = 1000  # parked deliveries at most


async def register(transaction: Transaction, types_by_name: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Record that a process has these handlers; return how many parked deliveries wait for each name."""
    now = transaction.now
    rows = [
        {
            "environment": transaction.environment,
            "type": event_type,
            "handler": name,
            "registered_at": now,
            "last_seen_at": now,
        }
        for name, types in sorted(types_by_name.items())
        for event_type in sorted(types)
    ]
    if rows:
        await transaction.connection.execute(_register(transaction.connection.dialect.name), rows)
    parked = {name: await _count_parked(transaction, name) for name in types_by_name}
    return {name: count for name, count in parked.items() if count}


async def registered(transaction: Transaction) -> dict[str, list[str]]:
    """Return the names of the registered handlers by event type."""
    query = select(handlers.c.type, handlers.c.handler).where(
        handlers.c.environment == transaction.environment
    )
    names: dict[str, list[str]] = defaultdict(list)
    for event_type, name in await transaction.connection.execute(query.order_by(handlers.c.handler)):
        names[event_type].append(name)
    return names


async def find_missing(
    transaction: Transaction, own: Iterable[str], *, seconds: float
) -> list[tuple[str, str]]:
    """Return the names and types that no process registered for so long, except its own names."""
    query = select(handlers.c.handler, handlers.c.type).where(
        handlers.c.environment == transaction.environment,
        handlers.c.last_seen_at < transaction.now - timedelta(seconds=seconds),
        handlers.c.handler.not_in(own),
    )
    rows = await transaction.connection.execute(query.order_by(handlers.c.handler, handlers.c.type))
    return [(name, event_type) for name, event_type in rows]


async def claim(transaction: Transaction) -> int:
    """Make the oldest events without a handler deliveries of the handlers that exist now; return how many."""
    names = await registered(transaction)
    oldest = [_oldest_unclaimed(transaction, event_type) for event_type in names]
    if not oldest:
        return 0
    query = union_all(*(select(one.subquery()) for one in oldest)).order_by("event_row_id").limit(CLAIMED)
    candidates = (await transaction.connection.execute(query)).mappings().all()
    locked = await transaction.try_lock({row["lane"] for row in candidates if row["lane"]})
    ids = [row["id"] for row in candidates if row["lane"] is None or row["lane"] in locked]
    # Another process may have claimed some of them meanwhile.
    claimed = await transaction.connection.execute(
        delete(deliveries).where(deliveries.c.id.in_(ids), deliveries.c.handler == "").returning(deliveries)
    )
    events = claimed.mappings().all()
    delivered = await _find_ended(transaction, [row["event_row_id"] for row in events])
    rows = [
        new_row(row, name)
        for row in events
        for name in names[row["type"]]
        if (row["event_row_id"], name) not in delivered
    ]
    await insert_deliveries(transaction, rows)
    return len(events)


async def insert_deliveries(transaction: Transaction, rows: Sequence[dict[str, Any]]) -> None:
    """Insert deliveries, and make those due that are first in their lane or have none.

    The caller holds the integrations' locks.
    """
    if not rows:
        return
    due_at = lanes.shared_now(transaction.connection.dialect.name)
    for is_ordered in (True, False):
        some = [row for row in rows if (row["lane"] is not None) == is_ordered]
        if some:
            statement = insert(deliveries).values(due_at=None if is_ordered else due_at)
            clock = {} if is_ordered else {"now": transaction.now}
            await transaction.connection.execute(statement, [row | clock for row in some])
    pairs = ((row["handler"], row["lane"]) for row in rows if row["lane"] is not None and row["handler"])
    await lanes.ready(transaction, pairs)


def new_row(row: Mapping[str, Any] | RowMapping, name: str) -> dict[str, Any]:
    """Return the row of a new delivery for the event of another row."""
    same = {one: row[one] for one in ("environment", "event_row_id", "type", "lane")}
    return {**same, "handler": name, "attempts": 0, "failures": 0}


async def park(transaction: Transaction, name: str, event_type: str) -> int:
    """Park a batch of a missing handler's deliveries; return how many were parked."""
    ours = (
        deliveries.c.environment == transaction.environment,
        deliveries.c.handler == name,
        deliveries.c.type == event_type,
    )
    in_lanes = select(deliveries.c.id).where(*ours, deliveries.c.lane.is_not(None))
    others = select(deliveries.c.id).where(
        *ours, deliveries.c.lane.is_(None), deliveries.c.due_at.is_not(None)
    )
    candidates = [one.limit(PARKED).subquery() for one in (in_lanes, others)]
    query = (
        select(deliveries)
        .where(deliveries.c.id.in_(union_all(*(select(one) for one in candidates))))
        .with_for_update(skip_locked=True)
    )
    rows = (await transaction.connection.execute(query)).mappings().all()
    locked = await transaction.try_lock({row["lane"] for row in rows if row["lane"]})
    parked = [dict(row) | {"outcome": "parked"} for row in rows if row["lane"] in {None, *locked}]
    await lanes.end(transaction, parked)
    await lanes.ready(transaction, ((name, row["lane"]) for row in parked if row["lane"]))
    return len(parked)


async def _find_ended(transaction: Transaction, event_row_ids: Sequence[int]) -> set[tuple[int, str]]:
    query = select(ended_deliveries.c.event_row_id, ended_deliveries.c.handler).where(
        ended_deliveries.c.environment == transaction.environment,
        ended_deliveries.c.event_row_id.in_(event_row_ids),
    )
    return {(row_id, name) for row_id, name in await transaction.connection.execute(query)}


async def _count_parked(transaction: Transaction, name: str) -> int:
    is_parked = and_(
        ended_deliveries.c.environment == transaction.environment,
        ended_deliveries.c.handler == name,
        lanes.UNDELIVERED,
        ended_deliveries.c.outcome == "parked",
    )
    some = select(ended_deliveries.c.event_row_id).where(is_parked).limit(COUNTED).subquery()
    count = (await transaction.connection.execute(select(func.count()).select_from(some))).scalar_one()
    return int(count)


def _oldest_unclaimed(transaction: Transaction, event_type: str) -> Any:  # noqa: ANN401 - Select is generic
    return (
        select(deliveries.c.id, deliveries.c.event_row_id, deliveries.c.lane)
        .where(
            deliveries.c.environment == transaction.environment,
            deliveries.c.handler == UNCLAIMED,
            deliveries.c.type == event_type,
        )
        .order_by(deliveries.c.event_row_id)
        .limit(CLAIMED)
    )


@functools.cache
def _register(dialect_name: str) -> Executable:
    dialect = postgresql if dialect_name == "postgresql" else sqlite
    statement = dialect.insert(handlers)
    upsert: Executable = statement.on_conflict_do_update(
        index_elements=list(handlers.primary_key.columns),
        set_={"last_seen_at": statement.excluded.last_seen_at},
    )
    return upsert
