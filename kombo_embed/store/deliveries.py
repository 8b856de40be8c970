"""Deliveries: leased by one process at a time, then ended, retried or released.

If a process dies, its leases end and other processes make its deliveries. The lease of a lane is that of its
head: the deliveries that a process takes along with a head need none of their own.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Update, bindparam, case, delete, select, update

from kombo_embed.deliveries import Delivery, DeliveryOutcome
from kombo_embed.store import due, handlers, lanes, outbox_drain
from kombo_embed.store.database import Database, read_only, run_to_completion
from kombo_embed.store.tables import deliveries
from kombo_embed.store.transaction import Connection, Transaction

NO_LEASE: dict[str, Any] = {"lease_owner": None, "lease_ends_at": None}


class Outbox:
    """Leases deliveries and saves their outcomes; implements `kombo_embed.deliveries.Outbox`."""

    def __init__(self, database: Database, *, environment: str) -> None:
        self._database = database
        self._environment = environment
        self._drain = outbox_drain.Drain()
        self._looked_at = lanes.FIRST

    async def take(
        self, slots: Mapping[str, int], *, now: datetime, lease_seconds: float
    ) -> list[list[Delivery]]:
        """Lease due deliveries of these handlers, up to so many lanes of each; return them by lane."""
        # Most looks find nothing; they must not queue with the writers.
        found = await self._look(slots, now=now)
        if not found.handlers and not self._has_new(found):
            return []
        return await self._take_found(found, slots, now=now, lease_seconds=lease_seconds)

    @read_only
    async def _look(self, slots: Mapping[str, int], *, now: datetime) -> due.Found:
        async with self._database.reading() as connection:
            return await due.look(self._in(connection, now), list(slots))

    @run_to_completion
    async def _take_found(
        self, found: due.Found, slots: Mapping[str, int], *, now: datetime, lease_seconds: float
    ) -> list[list[Delivery]]:
        async with self._database.writing() as connection:
            transaction, taken = self._in(connection, now), []
            if self._has_new(found) and await self._add_deliveries(transaction, found):
                found = await due.look(transaction, list(slots))
            for name in found.handlers:
                taken += await self._take(transaction, name, limit=slots[name], lease_seconds=lease_seconds)
        return taken

    def _has_new(self, found: due.Found) -> bool:
        return found.unclaimed or found.in_outbox or bool(self._drain.waiting)

    async def _add_deliveries(self, transaction: Transaction, found: due.Found) -> int:
        """Add the deliveries of a batch of events that had no handler before, or are in the old outbox."""
        moved = await self._drain.run(transaction) if found.in_outbox or self._drain.waiting else 0
        claimed = await handlers.claim(transaction) if found.unclaimed else 0
        return moved + claimed

    async def _take(
        self, transaction: Transaction, name: str, *, limit: int, lease_seconds: float
    ) -> list[list[Delivery]]:
        heads = await due.lock_heads(transaction, name, limit=limit)
        if not heads:
            return []
        owner = secrets.token_hex(16)
        lease = self._lease(transaction.now, lease_seconds, owner=owner)
        await transaction.connection.execute(lease.where(deliveries.c.id.in_(heads)))
        taken, gone = await due.read_lanes(transaction, heads, owner=owner)
        if gone:  # with its event, which was pruned while it was replayed
            await transaction.connection.execute(delete(deliveries).where(deliveries.c.id.in_(gone)))
        return taken

    @run_to_completion
    async def renew(self, held: Iterable[Delivery], *, now: datetime, lease_seconds: float) -> None:
        """Extend leases while handlers run."""
        lease_ends_at = self._time_after(now, lease_seconds)
        async with self._database.writing() as connection:
            # A delivery that may have killed earlier processes has a later due time.
            values = {"lease_ends_at": lease_ends_at, "due_at": _not_before(lease_ends_at)}
            await connection.execute(self._held(held).values(values))

    @run_to_completion
    async def defer(self, delivery: Delivery, *, now: datetime, seconds: float) -> None:
        """Set the time until redelivery for the case that this process dies while handling the event."""
        until = self._time_after(now, seconds)
        async with self._database.writing() as connection:
            await connection.execute(self._held([delivery]).values(due_at=_not_before(until)))

    @run_to_completion
    async def release(self, held: Iterable[Delivery], *, now: datetime) -> None:
        """Return unfinished deliveries without counting the attempt."""
        values = {"attempts": deliveries.c.attempts - 1, "due_at": self._time_after(now, 0), **NO_LEASE}
        async with self._database.writing() as connection:
            await connection.execute(self._held(held).values(**values))

    @run_to_completion
    async def register(self, types_by_name: Mapping[str, Sequence[str]], *, now: datetime) -> dict[str, int]:
        """Record that a process has these handlers; return how many parked deliveries wait for each name."""
        async with self._database.writing() as connection:
            return await handlers.register(self._in(connection, now), types_by_name)

    @read_only
    async def find_missing(
        self, own: Iterable[str], *, now: datetime, seconds: float
    ) -> list[tuple[str, str]]:
        """Return the names and types of handlers that no process registered for so long, except its own."""
        async with self._database.reading() as connection:
            return await handlers.find_missing(self._in(connection, now), own, seconds=seconds)

    @read_only
    async def has_unfinished(self, types_by_name: Mapping[str, Sequence[str]], *, now: datetime) -> bool:
        """Return whether these handlers have deliveries that are due or are being made."""
        async with self._database.reading() as connection:
            return await due.has_unfinished(self._in(connection, now), types_by_name)

    @run_to_completion
    async def park(self, name: str, event_type: str, *, now: datetime) -> int:
        """Park up to a batch of a missing handler's deliveries; return how many were parked."""
        async with self._database.writing() as connection:
            return await handlers.park(self._in(connection, now), name, event_type)

    async def ready_lanes(self, *, now: datetime) -> int:
        """Look at the next few hundred lanes and make a delivery due where none is; return how many."""
        found = await self._find_lanes(now)
        self._looked_at = found[-1][0] if len(found) == lanes.LANES_PER_LOOK else lanes.FIRST
        stuck = [lane for lane, has_head in found if not has_head]
        return await self._ready(stuck, now) if stuck else 0

    @read_only
    async def _find_lanes(self, now: datetime) -> list[tuple[lanes.Lane, bool]]:
        async with self._database.reading() as connection:
            return await lanes.find_next(self._in(connection, now), self._looked_at)

    @run_to_completion
    async def _ready(self, stuck: Sequence[lanes.Lane], now: datetime) -> int:
        async with self._database.writing() as connection:
            transaction = self._in(connection, now)
            locked = await transaction.try_lock({lane for _, lane in stuck})
            return await lanes.ready(transaction, (one for one in stuck if one[1] in locked))

    @run_to_completion
    async def save(
        self, outcomes: Sequence[DeliveryOutcome], *, now: datetime, lease_seconds: float
    ) -> list[DeliveryOutcome]:
        """Save outcomes in one transaction; return those to save later: their lane is being written to."""
        async with self._database.writing() as connection:
            transaction = self._in(connection, now)
            lanes_of_outcomes = {one.delivery.lane for one in outcomes if one.delivery.lane is not None}
            locked = {None, *await transaction.try_lock(lanes_of_outcomes)}
            ready = [one for one in outcomes if one.delivery.lane in locked]
            await self._save(transaction, await self._held_outcomes(connection, ready), lease_seconds)
        return [one for one in outcomes if one.delivery.lane not in locked]

    async def _held_outcomes(
        self, connection: Connection, outcomes: Sequence[DeliveryOutcome]
    ) -> list[DeliveryOutcome]:
        """Return the outcomes whose lease this process still has: that of a head covers its successors."""
        ids = {one.delivery.row_id for one in outcomes}
        query = select(deliveries.c.id, deliveries.c.lease_owner).where(deliveries.c.id.in_(ids))
        rows = await connection.execute(query.with_for_update())
        owners: dict[int, str | None] = {row.id: row.lease_owner for row in rows}
        held, inherited = [], set[int]()
        for outcome in outcomes:  # those of one lane are in order
            row_id = outcome.delivery.row_id
            is_held = row_id in inherited or owners.get(row_id) == outcome.delivery.lease_owner
            if row_id in owners and is_held:
                held.append(outcome)
                inherited |= {outcome.successor.row_id} if outcome.successor else set()
        return held

    async def _save(
        self, transaction: Transaction, outcomes: Sequence[DeliveryOutcome], lease_seconds: float
    ) -> None:
        ended = [one for one in outcomes if one.retry_seconds is None]
        await lanes.end(transaction, [_ending(one) for one in ended])
        finished = {one.delivery.row_id for one in outcomes}
        leased = [
            {"of_id": successor.row_id, "owner": successor.lease_owner}
            for one in ended
            if (successor := one.successor) and successor.row_id not in finished
        ]
        if leased:
            lease = self._lease(transaction.now, lease_seconds, owner=bindparam("owner"))
            await transaction.connection.execute(lease.where(deliveries.c.id == bindparam("of_id")), leased)
        for outcome in outcomes:
            if outcome.retry_seconds is not None:
                await transaction.connection.execute(self._retry(outcome, transaction.now))
        # Only the lanes whose next delivery is neither leased here nor retried.
        await lanes.ready(
            transaction, ((one.delivery.handler, one.delivery.lane) for one in ended if one.delivery.lane)
        )

    def _retry(self, outcome: DeliveryOutcome, now: datetime) -> Update:
        # A delivery that was postponed does not count as an attempt.
        failed, due_at = outcome.error is not None, self._time_after(now, outcome.retry_seconds or 0)
        column, step = (deliveries.c.failures, 1) if failed else (deliveries.c.attempts, -1)
        return (
            update(deliveries)
            .where(deliveries.c.id == outcome.delivery.row_id)
            .values(
                {column.name: column + step, "due_at": due_at, "last_error": _last_error(outcome), **NO_LEASE}
            )
        )

    def _held(self, held: Iterable[Delivery]) -> Update:
        ids, owners = {one.row_id for one in held}, {one.lease_owner for one in held}
        return update(deliveries).where(deliveries.c.id.in_(ids), deliveries.c.lease_owner.in_(owners))

    def _in(self, connection: Connection, now: datetime) -> Transaction:
        return Transaction(connection, self._environment, now)

    def _lease(self, now: datetime, seconds: float, *, owner: str | BindParameter[str]) -> Update:
        ends_at = self._time_after(now, seconds)
        lease = {"lease_owner": owner, "lease_ends_at": ends_at, "due_at": ends_at}
        return update(deliveries).values(attempts=deliveries.c.attempts + 1, **lease)

    def _time_after(self, now: datetime, seconds: float) -> ColumnElement[datetime]:
        return self._database.backend.time_after(now, seconds=seconds)


def _not_before(moment: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Return the due time, or this one if it is later."""
    return case((deliveries.c.due_at > moment, deliveries.c.due_at), else_=moment)


def _ending(outcome: DeliveryOutcome) -> dict[str, Any]:
    delivery = outcome.delivery
    return {
        "id": delivery.row_id,
        "event_row_id": delivery.event_row_id,
        "handler": delivery.handler,
        "outcome": "dead" if outcome.is_dead else "delivered",
        "failures": delivery.failures + outcome.is_dead,
        "last_error": _last_error(outcome),
    }


def _last_error(outcome: DeliveryOutcome) -> str | None:
    return outcome.error or outcome.delivery.last_error
