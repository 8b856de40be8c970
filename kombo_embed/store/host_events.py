"""Events for the host and the state of their deliveries, for the command line."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, and_, or_, select, union, union_all

from kombo_embed.store.lanes import AFTER_ALL, UNDELIVERED
from kombo_embed.store.tables import deliveries, ended_deliveries, events, outbox
from kombo_embed.store.transaction import Transaction

PREFIX = re.compile(r"[0-9a-f]{6,32}")  # of an event's id, which identifies it if no other id begins with it
PREFIX_MIN_LENGTH = 6
AFTER_HEX = "g"  # sorts after every hexadecimal digit, in any collation
# Of an event with several deliveries, the first that applies to one of them.
STATES = ("dead letter", "parked", "failing", "in progress", "waiting", "no handler", "delivered")
ENDED = {"dead": "dead letter", "parked": "parked", "delivered": "delivered"}


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """The delivery of one event to one handler. ``due_at`` is None while an earlier one has to end first."""

    handler: str
    state: str
    attempts: int | None
    failures: int
    due_at: datetime | None
    ended_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class HostEvent:
    """An event for the host, and the state of its deliveries. ``state`` is one of `STATES`."""

    id: str
    type: str
    state: str
    origin_id: str | None
    integration_id: str | None
    occurred_at: datetime
    attempts: int
    failures: int
    due_at: datetime | None
    given_up_at: datetime | None
    delivered_at: datetime | None
    done_handlers: tuple[str, ...]
    deliveries: tuple[DeliveryRecord, ...]
    actor: str | None = field(repr=False)
    integration: dict[str, Any] | None = field(repr=False)
    data: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """The row of an event: in the events, or in the outbox of an earlier version."""

    row_id: int
    in_outbox: bool


async def list_events(
    transaction: Transaction, *, delivered: bool, limit: int, before: Place | None = None
) -> list[HostEvent]:
    """Return the newest events that are not delivered to all handlers; with ``delivered``, all."""
    found: list[HostEvent] = []
    if before is None or not before.in_outbox:
        last = before.row_id if before else None
        find = _newest if delivered else _unfinished
        found = await read_all(transaction, await find(transaction, last, limit))
    if len(found) < limit:
        last = before.row_id if before and before.in_outbox else None
        found += await _list_outbox(transaction, last, limit - len(found))
    return found


async def find(transaction: Transaction, id_or_prefix: str) -> Place | None:
    """Return where the event with this id or prefix is; None if no event matches, or several do."""
    for table in (events, outbox):
        column = table.c.event_id
        matches = column == id_or_prefix
        if PREFIX.fullmatch(id_or_prefix):
            matches = or_(matches, and_(column >= id_or_prefix, column < id_or_prefix + AFTER_HEX))
        query = select(table.c.id).where(table.c.environment == transaction.environment, matches)
        ids = (await transaction.connection.execute(query.limit(2))).scalars().all()
        if ids:
            return Place(ids[0], in_outbox=table is outbox) if len(ids) == 1 else None
    return None


async def read_one(transaction: Transaction, place: Place) -> HostEvent:
    """Return the event at a place."""
    if not place.in_outbox:
        [event] = await read_all(transaction, [place.row_id])
        return event
    query = select(outbox).where(outbox.c.id == place.row_id)
    row = (await transaction.connection.execute(query)).mappings().one()
    return _from_outbox(row, transaction.now)


async def find_newest(
    transaction: Transaction,
    *,
    limit: int,
    types: Sequence[str] = (),
    origin_id: str | None = None,
    integration_id: str | None = None,
    before: int | None = None,
) -> list[int]:
    """Return the row ids of the newest events of these types and this customer, or about an integration.

    Each type is looked up for itself: an index has one type's events of a customer in their order.
    """
    query = select(events.c.id).where(events.c.environment == transaction.environment)
    query = query.where(events.c.id < (AFTER_ALL if before is None else before))
    if integration_id is not None:
        query = query.where(events.c.integration_id == integration_id)
    elif origin_id is not None:
        query = query.where(events.c.origin_id == origin_id)
    newest = [query.where(events.c.type == one) for one in types] or [query]
    parts = [select(one.order_by(events.c.id.desc()).limit(limit).subquery().c.id) for one in newest]
    both = union_all(*parts).order_by(parts[0].selected_columns.id.desc()).limit(limit)
    return list((await transaction.connection.execute(both)).scalars())


async def _newest(transaction: Transaction, before: int | None, limit: int) -> list[int]:
    query = select(events.c.id).where(
        events.c.environment == transaction.environment,
        events.c.id < (AFTER_ALL if before is None else before),
    )
    newest = query.order_by(events.c.id.desc()).limit(limit)
    return list((await transaction.connection.execute(newest)).scalars())


async def _unfinished(transaction: Transaction, before: int | None, limit: int) -> list[int]:
    last = AFTER_ALL if before is None else before
    parts = []
    for table, condition in ((deliveries, ()), (ended_deliveries, (UNDELIVERED,))):
        query = select(table.c.event_row_id).distinct()
        query = query.where(
            table.c.environment == transaction.environment, table.c.event_row_id < last, *condition
        )
        newest = query.order_by(table.c.event_row_id.desc()).limit(limit)
        parts.append(select(newest.subquery().c.event_row_id))
    both = union(*parts).order_by(parts[0].selected_columns.event_row_id.desc()).limit(limit)
    return list((await transaction.connection.execute(both)).scalars())


async def read_all(transaction: Transaction, row_ids: Sequence[int]) -> list[HostEvent]:
    """Return events with their deliveries, the newest first."""
    if not row_ids:
        return []
    records: dict[int, list[DeliveryRecord]] = defaultdict(list)
    for table in (deliveries, ended_deliveries):
        query = select(table).where(
            table.c.environment == transaction.environment, table.c.event_row_id.in_(row_ids)
        )
        for row in (await transaction.connection.execute(query.order_by(table.c.handler))).mappings():
            record = _pending(row, transaction.now) if table is deliveries else _ended(row)
            records[row["event_row_id"]].append(record)
    query = select(events).where(events.c.id.in_(row_ids)).order_by(events.c.id.desc())
    rows = (await transaction.connection.execute(query)).mappings()
    return [_event(row, records[row["id"]]) for row in rows]


def _event(row: Mapping[str, Any] | RowMapping, records: Iterable[DeliveryRecord]) -> HostEvent:
    found = tuple(records)
    states = {record.state for record in found} or {"delivered"}
    state = next(one for one in STATES if one in states)
    due = [record.due_at for record in found if record.due_at]
    dead = [record.ended_at for record in found if record.state == "dead letter" and record.ended_at]
    ended = [record.ended_at for record in found if record.ended_at]
    same = ("type", "origin_id", "integration_id", "occurred_at", "integration", "data")
    return HostEvent(
        id=row["event_id"],
        state=state,
        attempts=max((record.attempts or 0 for record in found), default=0),
        failures=max((record.failures for record in found), default=0),
        due_at=min(due, default=None),
        given_up_at=max(dead, default=None),
        delivered_at=max(ended, default=row["occurred_at"]) if state == "delivered" else None,
        done_handlers=tuple(record.handler for record in found if record.state == "delivered"),
        deliveries=found,
        actor=row.get("actor"),
        **{name: row[name] for name in same},
    )


def _pending(row: RowMapping, now: datetime) -> DeliveryRecord:
    if row["handler"] == "":
        state = "no handler"
    elif row["lease_ends_at"] is not None and row["lease_ends_at"] > now:
        state = "in progress"
    else:
        state = "failing" if row["failures"] else "waiting"
    same = {name: row[name] for name in ("handler", "attempts", "failures", "due_at", "last_error")}
    return DeliveryRecord(state=state, ended_at=None, **same)


def _ended(row: RowMapping) -> DeliveryRecord:
    same = {name: row[name] for name in ("handler", "failures", "ended_at", "last_error")}
    return DeliveryRecord(state=ENDED[row["outcome"]], attempts=None, due_at=None, **same)


async def _list_outbox(transaction: Transaction, before: int | None, limit: int) -> list[HostEvent]:
    """Return events that an earlier version wrote and that have not moved to the new tables yet."""
    query = select(outbox).where(
        outbox.c.environment == transaction.environment,
        outbox.c.delivered_at.is_(None),
        outbox.c.id < (AFTER_ALL if before is None else before),
    )
    rows = await transaction.connection.execute(query.order_by(outbox.c.id.desc()).limit(limit))
    return [_from_outbox(row, transaction.now) for row in rows.mappings()]


def _from_outbox(row: RowMapping, now: datetime) -> HostEvent:
    shared: dict[str, Any] = {"attempts": None, "failures": 0, "last_error": None, "due_at": None}
    done = [
        DeliveryRecord(**shared, handler=name, state="delivered", ended_at=row["delivered_at"])
        for name in row["done_handlers"]
    ]
    shared |= {"attempts": row["attempts"], "failures": row["failures"], "handler": ""}
    if row["delivered_at"] is not None:
        return _event(row, done)
    if row["given_up_at"] is not None:
        return _event(
            row, [*done, DeliveryRecord(**shared, state="dead letter", ended_at=row["given_up_at"])]
        )
    in_progress = row["lease_ends_at"] is not None and row["lease_ends_at"] > now
    state = "in progress" if in_progress else "failing" if row["failures"] else "waiting"
    return _event(
        row, [*done, DeliveryRecord(**shared | {"due_at": row["due_at"]}, state=state, ended_at=None)]
    )
