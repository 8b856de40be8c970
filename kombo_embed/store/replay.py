"""Replays and resends: deliveries that are dead letters, are parked or wait, or that ended, are made now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, delete, literal_column, or_, select, tuple_, update

from kombo_embed.store import handlers
from kombo_embed.store.host_events import Place
from kombo_embed.store.lanes import UNDELIVERED, shared_now
from kombo_embed.store.tables import deliveries, ended_deliveries, events, outbox
from kombo_embed.store.tables import handlers as registry
from kombo_embed.store.transaction import Transaction

ROWS = 100  # in one transaction, so that other writers wait only briefly
ABSENT_SECONDS = 1200.0  # after which a renamed handler is taken out of the registry

UNCLAIMED_NAME = ""  # of the delivery of an event that had no handler yet
IS_DEAD = ended_deliveries.c.outcome == literal_column("'dead'")


@dataclass(frozen=True, slots=True)
class Batch:
    """The ids of the replayed events, and whether other events may be left."""

    event_ids: list[str]
    has_more: bool


async def replay_event(transaction: Transaction, place: Place) -> bool:
    """Make all unfinished deliveries of an event due now; return False if there are none."""
    if place.in_outbox:
        return bool(await _replay_in_outbox(transaction, outbox.c.id == place.row_id))
    query = select(events.c.integration_id).where(events.c.id == place.row_id)
    lane = (await transaction.connection.execute(query)).scalar_one()
    if lane is not None:
        await transaction.lock(lane)
    of_event = deliveries.c.event_row_id == place.row_id
    waits = await _make_due(transaction, of_event)
    ended = await _find_ended(transaction, ended_deliveries.c.event_row_id == place.row_id)
    await _replay(transaction, ended)
    return waits or bool(ended)


async def resend_event(transaction: Transaction, place: Place, *, handler: str | None) -> list[str]:
    """Deliver an event again, also where it was delivered; return the names of the handlers that get it.

    They are those that are registered for its type, or this one of them. A delivery that is still unfinished
    becomes due now. In its lane, the event comes after what is being delivered, in the order of the events.
    """
    table = outbox if place.in_outbox else events
    query = select(table.c.environment, table.c.type, table.c.integration_id.label("lane"))
    row = (await transaction.connection.execute(query.where(table.c.id == place.row_id))).mappings().one()
    names = (await handlers.registered(transaction)).get(row["type"], [])
    chosen = [name for name in names if handler in {None, name}]
    if place.in_outbox:
        await _resend_in_outbox(transaction, place, others=[name for name in names if name not in chosen])
    elif chosen:
        if row["lane"] is not None:
            await transaction.lock(row["lane"])
        await _resend(transaction, {**row, "event_row_id": place.row_id}, chosen)
    return chosen


async def replay_dead(transaction: Transaction) -> Batch:
    """Make a batch of dead letters due now."""
    moved = await _replay_in_outbox(transaction, outbox.c.given_up_at.is_not(None))
    batch = await _replay_batch(transaction, IS_DEAD)
    return Batch([*moved, *batch.event_ids], has_more=batch.has_more)


async def replay_handler(transaction: Transaction, name: str, *, new_name: str | None) -> Batch:
    """Make a batch of a handler's dead letters and parked deliveries due now, under its new name."""
    if new_name is not None:
        await _park_renamed(transaction, name)
    return await _replay_batch(transaction, ended_deliveries.c.handler == name, new_name=new_name)


async def _park_renamed(transaction: Transaction, name: str) -> None:
    """Park what still waits for the old name, and write no deliveries for it any more."""
    unseen = transaction.now - timedelta(seconds=ABSENT_SECONDS)
    gone = delete(registry).where(
        registry.c.environment == transaction.environment,
        registry.c.handler == name,
        registry.c.last_seen_at < unseen,
    )
    for event_type in (await transaction.connection.execute(gone.returning(registry.c.type))).scalars().all():
        while await handlers.park(transaction, name, event_type):
            pass


async def _replay_batch(
    transaction: Transaction, condition: ColumnElement[bool], *, new_name: str | None = None
) -> Batch:
    rows = await _find_ended(transaction, condition)
    locked = await transaction.try_lock({row["lane"] for row in rows if row["lane"]})
    free = [row for row in rows if row["lane"] in {None, *locked}]
    await _replay(transaction, free, new_name=new_name)
    return Batch([row["event_id"] for row in free], has_more=bool(rows))


async def _find_ended(transaction: Transaction, condition: ColumnElement[bool]) -> Sequence[RowMapping]:
    ended = ended_deliveries.c
    query = (
        select(ended.environment, ended.event_row_id, ended.handler, events.c.event_id, events.c.type)
        .add_columns(events.c.integration_id.label("lane"))
        .join(events, events.c.id == ended.event_row_id)
        .where(ended.environment == transaction.environment, UNDELIVERED, condition)
    )
    return (
        (await transaction.connection.execute(query.order_by(ended.event_row_id).limit(ROWS)))
        .mappings()
        .all()
    )


async def _replay(
    transaction: Transaction, rows: Sequence[RowMapping], *, new_name: str | None = None
) -> None:
    if not rows:
        return
    execute, ended = transaction.connection.execute, ended_deliveries.c
    keys = [(row["event_row_id"], row["handler"]) for row in rows]
    is_one = tuple_(ended.event_row_id, ended.handler).in_(keys)
    await execute(delete(ended_deliveries).where(ended.environment == transaction.environment, is_one))
    new = [handlers.new_row(row, row["handler"] if new_name is None else new_name) for row in rows]
    known: set[tuple[int, str]] = set()
    if new_name is not None:
        for table in (ended_deliveries, deliveries):
            query = select(table.c.event_row_id, table.c.handler).where(
                table.c.environment == transaction.environment,
                table.c.event_row_id.in_([row["event_row_id"] for row in rows]),
            )
            known |= {(row_id, name) for row_id, name in await execute(query)}
    missing = [one for one in new if (one["event_row_id"], one["handler"]) not in known]
    await handlers.insert_deliveries(transaction, missing)


async def _resend(transaction: Transaction, event: dict[str, Any], names: Sequence[str]) -> None:
    execute = transaction.connection.execute
    waiting = deliveries.c.event_row_id == event["event_row_id"]
    await _make_due(transaction, and_(waiting, deliveries.c.handler.in_(names)))
    query = select(deliveries.c.handler).where(deliveries.c.environment == transaction.environment, waiting)
    unfinished = set((await execute(query)).scalars())
    if UNCLAIMED_NAME in unfinished:
        return  # every handler of the type is about to get it
    new = [handlers.new_row(event, name) for name in names if name not in unfinished]
    await execute(
        delete(ended_deliveries).where(
            ended_deliveries.c.environment == transaction.environment,
            ended_deliveries.c.event_row_id == event["event_row_id"],
            ended_deliveries.c.handler.in_([one["handler"] for one in new]),
        )
    )
    await handlers.insert_deliveries(transaction, new)


async def _resend_in_outbox(transaction: Transaction, place: Place, *, others: Sequence[str]) -> None:
    """Let the running app move an event of an earlier version as if only other handlers had it."""
    values = {"done_handlers": list(others), "due_at": transaction.now, "delivered_at": None}
    values |= {"given_up_at": None, "failures": 0, "attempts": 0, "lease_owner": None}
    again = update(outbox).where(outbox.c.id == place.row_id)
    await transaction.connection.execute(again.values(**values))


async def _make_due(transaction: Transaction, of_event: ColumnElement[bool]) -> bool:
    """Make the event's deliveries due that no process makes now; return whether any are unfinished."""
    ours = deliveries.c.environment == transaction.environment, of_event
    now = shared_now(transaction.connection.dialect.name)
    is_free = or_(deliveries.c.lease_ends_at.is_(None), deliveries.c.lease_ends_at <= now)
    values: dict[str, Any] = {"failures": 0, "attempts": 0, "lease_owner": None}
    due = (
        update(deliveries)
        .where(*ours, deliveries.c.due_at.is_not(None), is_free)
        .values(due_at=now, **values)
    )
    await transaction.connection.execute(due, {"now": transaction.now})
    unfinished = select(deliveries.c.id).where(*ours).limit(1)
    return (await transaction.connection.execute(unfinished)).first() is not None


async def _replay_in_outbox(transaction: Transaction, which: ColumnElement[bool]) -> list[str]:
    """Make events due that an earlier version wrote; the running app moves them to the new tables."""
    due = update(outbox).where(
        outbox.c.environment == transaction.environment, outbox.c.delivered_at.is_(None), which
    )
    values: dict[str, Any] = {"due_at": transaction.now, "failures": 0, "attempts": 0, "given_up_at": None}
    rows = await transaction.connection.execute(due.values(**values).returning(outbox.c.event_id))
    return list(rows.scalars())
