"""The outbox: events for the host, written in the transaction that they report, delivered after it.

A process leases an event before it delivers it. If the process dies, the lease ends and another one delivers
the event. The events of one integration are delivered in the order in which they were written.
"""

from __future__ import annotations

import logging
import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, Update, and_, exists, insert, or_, select, update

from kombo_embed.integration import Event, Integration
from kombo_embed.ports import Delivery, DeliveryOutcome
from kombo_embed.store.database import Database, run_to_completion
from kombo_embed.store.tables import outbox
from kombo_embed.store.transaction import Transaction

logger = logging.getLogger("kombo_embed.store")

INSERT = insert(outbox)  # built once, since it is executed often
NO_LEASE = {"lease_owner": None, "lease_ends_at": None}
TIMES = ("connected_at", "updated_at")


async def write_event(
    transaction: Transaction,
    event_type: str,
    *,
    origin_id: str | None,
    integration: Integration | None = None,
    data: dict[str, object],
) -> None:
    """Write an event for the host; it is delivered after the transaction has committed."""
    await transaction.connection.execute(
        INSERT,
        {
            "environment": transaction.environment,
            "event_id": secrets.token_hex(16),
            "type": event_type,
            "origin_id": origin_id,
            "integration_id": integration.integration_id if integration else None,
            "integration": _to_json(integration),
            "data": data,
            "occurred_at": transaction.now,
            "attempts": 0,
            "done_handlers": [],
            "due_at": transaction.now,
        },
    )


class Outbox:
    """Leases events for delivery and saves the outcomes; implements `kombo_embed.ports.Outbox`.

    An integration's events are numbered in the order of their commits, since their writers lock it. So no
    event becomes visible before an earlier one: an outdated read can delay an event, but not reorder events.
    """

    def __init__(self, database: Database, *, environment: str) -> None:
        self._database = database
        self._environment = environment
        self._owner = secrets.token_hex(8)

    @run_to_completion
    async def take(
        self, types: Sequence[str], *, limit: int, now: datetime, lease_seconds: float
    ) -> list[Delivery]:
        """Lease up to ``limit`` due events of these types."""
        due = self._due(types, limit=limit, now=now)
        async with self._database.reading() as connection:
            # Most polls find nothing; they must not queue with the writers.
            if (await connection.execute(due)).first() is None:
                return []
        async with self._database.writing() as connection:
            # On PostgreSQL, events that another process is leasing at this moment are skipped.
            ids = (await connection.execute(due.with_for_update(skip_locked=True, of=outbox))).scalars()
            lease = update(outbox).where(outbox.c.id.in_(ids.all())).returning(outbox)
            rows = await connection.execute(
                lease.values(
                    lease_owner=self._owner,
                    lease_ends_at=self._database.backend.time_after(now, seconds=lease_seconds),
                    attempts=outbox.c.attempts + 1,
                )
            )
            leased = [delivery for row in rows.mappings() if (delivery := _delivery(row)) is not None]
        return sorted(leased, key=lambda delivery: delivery.row_id)

    @run_to_completion
    async def renew(self, deliveries: Sequence[Delivery], *, now: datetime, lease_seconds: float) -> None:
        """Extend leases while handlers run, and save which handlers have succeeded."""
        lease_ends_at = self._database.backend.time_after(now, seconds=lease_seconds)
        async with self._database.writing() as connection:
            for ids, done in _by_done_handlers(deliveries):
                await connection.execute(self._update(ids, lease_ends_at=lease_ends_at, **done))

    @run_to_completion
    async def save(self, outcomes: Sequence[DeliveryOutcome], *, now: datetime) -> None:
        """Save outcomes in one transaction; events that another process has leased meanwhile are skipped."""
        delivered = [outcome.delivery.row_id for outcome in outcomes if outcome.due_at is None]
        async with self._database.writing() as connection:
            if delivered:
                await connection.execute(self._update(delivered, delivered_at=now, **NO_LEASE))
            for outcome in outcomes:
                if outcome.due_at is not None:
                    await connection.execute(self._redeliver(outcome, now))

    @run_to_completion
    async def defer(self, delivery: Delivery, *, due_at: datetime) -> None:
        """Set the earliest redelivery time for the case that this process dies while handling the event."""
        async with self._database.writing() as connection:
            await connection.execute(self._update([delivery.row_id], due_at=due_at))

    @run_to_completion
    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """Return unfinished events to the outbox without counting the attempt."""
        async with self._database.writing() as connection:
            for ids, done in _by_done_handlers(deliveries):
                await connection.execute(
                    self._update(ids, attempts=outbox.c.attempts - 1, **done, **NO_LEASE)
                )

    def _redeliver(self, outcome: DeliveryOutcome, now: datetime) -> Update:
        # A delivery that was postponed does not count as an attempt.
        column, step = (outbox.c.failures, 1) if outcome.failed else (outbox.c.attempts, -1)
        return self._update(
            [outcome.delivery.row_id],
            done_handlers=list(outcome.done_handlers),
            due_at=outcome.due_at,
            given_up_at=now if outcome.dead else None,
            **{column.name: column + step},
            **NO_LEASE,
        )

    def _update(self, ids: Sequence[int], **values: object) -> Update:
        is_leased_here = and_(outbox.c.environment == self._environment, outbox.c.lease_owner == self._owner)
        return update(outbox).where(outbox.c.id.in_(ids), is_leased_here).values(**values)

    def _due(self, types: Sequence[str], *, limit: int, now: datetime) -> Select[tuple[int]]:
        shared_now = self._database.backend.time_after(now, seconds=0)
        is_free = or_(outbox.c.lease_ends_at.is_(None), outbox.c.lease_ends_at <= shared_now)
        query = select(outbox.c.id).where(
            outbox.c.environment == self._environment,
            outbox.c.delivered_at.is_(None),
            outbox.c.given_up_at.is_(None),
            outbox.c.type.in_(types),
            outbox.c.due_at <= now,
            is_free,
            ~_has_earlier(types),
        )
        return query.order_by(outbox.c.id).limit(limit)


def _has_earlier(types: Sequence[str]) -> ColumnElement[bool]:
    earlier = outbox.alias("earlier")
    return exists().where(
        earlier.c.environment == outbox.c.environment,
        earlier.c.integration_id == outbox.c.integration_id,
        earlier.c.id < outbox.c.id,
        earlier.c.delivered_at.is_(None),
        earlier.c.given_up_at.is_(None),
        earlier.c.type.in_(types),
    )


def _by_done_handlers(deliveries: Sequence[Delivery]) -> list[tuple[list[int], dict[str, object]]]:
    """Group row ids whose update has the same values, so that one statement updates each group."""
    groups = defaultdict(list)
    for delivery in deliveries:
        groups[delivery.done_handlers].append(delivery.row_id)
    return [(ids, {"done_handlers": list(done)} if done else {}) for done, ids in groups.items()]


def _delivery(row: RowMapping) -> Delivery | None:
    try:
        integration = _from_json(row["integration"])
    except (TypeError, ValueError, KeyError):
        # Another version of this package wrote it; a process of that version delivers it after our lease.
        logger.exception("outbox.unreadable", extra={"row_id": row["id"]})
        return None
    same = {name: row[name] for name in ("type", "occurred_at", "origin_id", "data")}
    event = Event(id=row["event_id"], integration=integration, **same)
    return Delivery(
        row_id=row["id"],
        event=event,
        attempts=row["attempts"],
        done_handlers=tuple(row["done_handlers"]),
        failures=row["failures"],
    )


def _to_json(integration: Integration | None) -> dict[str, Any] | None:
    if integration is None:
        return None
    return asdict(integration) | {name: getattr(integration, name).isoformat() for name in TIMES}


def _from_json(value: dict[str, Any] | None) -> Integration | None:
    if value is None:
        return None
    known = {name: value[name] for name in Integration.__dataclass_fields__}
    return Integration(**(known | {name: datetime.fromisoformat(value[name]) for name in TIMES}))
