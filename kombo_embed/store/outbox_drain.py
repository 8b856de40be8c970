"""Moves what earlier versions wrote into the outbox to the tables of this version.

Workers of an earlier version write into the outbox, and deliver from it, until they are replaced. An event
that one of them has leased stays until its lease ends, and so do the later events of its integration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, bindparam, insert, or_, select, update

from kombo_embed.store import lanes
from kombo_embed.store.handlers import insert_deliveries, registered
from kombo_embed.store.outbox import SHARED
from kombo_embed.store.tables import deliveries, ended_deliveries, events, outbox
from kombo_embed.store.transaction import Transaction

ROWS = 100  # in one transaction, so that other writers wait only briefly

Rows = Sequence[RowMapping]
Values = dict[str, Any]


class Drain:
    """Moves the outbox in batches.

    ``waiting`` are the integrations with an event that a worker of an earlier version has leased. Their lanes
    have no head until that event was delivered.
    """

    def __init__(self) -> None:
        self.waiting: set[str] = set()

    async def run(self, transaction: Transaction) -> int:
        """Move the next batch; return how many events were moved."""
        rows = await _lock_rows(transaction)
        blocked = await _find_blocked(transaction, rows)
        concerned = {row["integration_id"] for row in rows if row["integration_id"]} | self.waiting
        locked = await transaction.try_lock(concerned)
        movable = [row for row in rows if _is_movable(row, blocked=blocked, locked=locked)]
        names = await registered(transaction)
        await _move(transaction, movable, names)
        every_name = {name for some in names.values() for name in some}
        await lanes.ready(transaction, ((name, lane) for lane in locked for name in every_name))
        self.waiting = (self.waiting - locked) | blocked.keys()
        return len(movable)


async def _lock_rows(transaction: Transaction) -> Rows:
    """Return the oldest undelivered events without a lease, locked until the transaction ends."""
    now = lanes.shared_now(transaction.connection.dialect.name)
    query = (
        select(outbox)
        .where(
            outbox.c.environment == transaction.environment,
            outbox.c.delivered_at.is_(None),
            or_(outbox.c.lease_ends_at.is_(None), outbox.c.lease_ends_at <= now),
        )
        .order_by(outbox.c.id)
        .limit(ROWS)
        .with_for_update(skip_locked=True)
    )
    return (await transaction.connection.execute(query, {"now": transaction.now})).mappings().all()


async def _find_blocked(transaction: Transaction, rows: Rows) -> dict[str, int]:
    """Return the integrations with an event that another process has leased or locked, and its row id."""
    query = select(outbox.c.integration_id, outbox.c.id).where(
        outbox.c.environment == transaction.environment,
        outbox.c.delivered_at.is_(None),
        outbox.c.given_up_at.is_(None),
        outbox.c.integration_id.is_not(None),
        outbox.c.id.not_in([row["id"] for row in rows]),
    )
    if len(rows) == ROWS:
        query = query.where(outbox.c.id < rows[-1]["id"])
    found = await transaction.connection.execute(query.order_by(outbox.c.id.desc()))
    return {lane: row_id for lane, row_id in found if lane is not None}


def _is_movable(row: RowMapping, *, blocked: Mapping[str, int], locked: set[str]) -> bool:
    lane = row["integration_id"]
    return lane is None or (lane in locked and row["id"] < blocked.get(lane, row["id"] + 1))


async def _move(transaction: Transaction, rows: Rows, names: Mapping[str, Sequence[str]]) -> None:
    if not rows:
        return
    row_ids = await _insert_events(transaction, rows)
    pending: list[Values] = []
    ended: list[Values] = []
    for row in rows:
        common = {"environment": transaction.environment, "event_row_id": row_ids[row["event_id"]]}
        of_event = _deliveries_of(row, names.get(row["type"], ()))
        pending += [common | one for one in of_event if "outcome" not in one]
        ended += [common | one | {"ended_at": transaction.now} for one in of_event if "outcome" in one]
    if ended:
        await transaction.connection.execute(insert(ended_deliveries), ended)
    await insert_deliveries(transaction, pending)
    await _keep_due_times(transaction, rows, row_ids)
    moved = update(outbox).where(outbox.c.id.in_([row["id"] for row in rows]))
    await transaction.connection.execute(moved.values(delivered_at=transaction.now, lease_owner=None))


def _deliveries_of(row: RowMapping, names: Sequence[str]) -> list[Values]:
    """Return the columns of an event's deliveries; those that have ended have an outcome."""
    done = set(row["done_handlers"])
    left = [name for name in names if name not in done] or [""] * (not done)
    ended = [{"handler": name, "outcome": "delivered", "failures": 0} for name in sorted(done)]
    if row["given_up_at"] is not None:
        dead = {"outcome": "dead", "failures": row["failures"]}
        return ended + [{"handler": name, **dead} for name in left]
    own = {"type": row["type"], "lane": row["integration_id"]}
    own |= {"attempts": row["attempts"], "failures": row["failures"]}
    return ended + [{"handler": name, **own} for name in left]


async def _insert_events(transaction: Transaction, rows: Rows) -> dict[str, int]:
    """Insert the events that no writer has numbered yet, in order; return the row ids of all."""
    event_ids = [row["event_id"] for row in rows]
    query = select(events.c.event_id, events.c.id).where(events.c.event_id.in_(event_ids))
    known = {row.event_id: row.id for row in await transaction.connection.execute(query)}
    unknown = [{name: row[name] for name in SHARED} for row in rows if row["event_id"] not in known]
    if unknown:
        await transaction.connection.execute(insert(events), unknown)
        known = {row.event_id: row.id for row in await transaction.connection.execute(query)}
    return known


async def _keep_due_times(transaction: Transaction, rows: Rows, row_ids: Mapping[str, int]) -> None:
    """Do not deliver an event that fails sooner than its backoff says."""
    later = [
        {"of_event": row_ids[row["event_id"]], "time": row["due_at"]}
        for row in rows
        if row["due_at"] > transaction.now
    ]
    if later:
        await transaction.connection.execute(
            update(deliveries)
            .where(
                deliveries.c.environment == transaction.environment,
                deliveries.c.event_row_id == bindparam("of_event"),
                deliveries.c.due_at.is_not(None),
            )
            .values(due_at=bindparam("time")),
            later,
        )
