"""The outbox: events for the host, written in the transaction of what they tell of, delivered after it.

An event is taken under a lease that ends by itself, so that one taken by a process that died is delivered by
another. Per integration, events are delivered in the order in which they were written.
"""

from __future__ import annotations

import logging
import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Update, and_, exists, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kombo_embed.integration import Event, Integration
from kombo_embed.ports import Delivery, DeliveryOutcome
from kombo_embed.store.database import Database, finishing
from kombo_embed.store.tables import outbox

logger = logging.getLogger("kombo_embed.store")

HAPPENED = insert(outbox)  # made once, as all that is executed often
FREE = {"lease_owner": None, "lease_ends_at": None}
TIMES = ("connected_at", "updated_at")


async def write_event(
    connection: AsyncConnection,
    *,
    environment: str,
    type_: str,
    origin_id: str | None,
    integration: Integration | None,
    data: dict[str, object],
    now: datetime,
) -> None:
    """Add an event to the transaction under way."""
    await connection.execute(
        HAPPENED,
        {
            "environment": environment,
            "event_id": secrets.token_hex(16),
            "type": type_,
            "origin_id": origin_id,
            "integration_id": integration.integration_id if integration else None,
            "integration": _to_json(integration),
            "data": data,
            "occurred_at": now,
            "attempts": 0,
            "done_handlers": [],
            "due_at": now,
        },
    )


class Outbox:
    """Takes events for delivery and notes what became of them."""

    def __init__(self, database: Database, *, environment: str) -> None:
        self._database = database
        self._environment = environment
        self._owner = secrets.token_hex(8)

    @finishing
    async def take(
        self, types: Sequence[str], *, limit: int, now: datetime, lease_seconds: float
    ) -> list[Delivery]:
        """Take up to ``limit`` events of these types that are due and that nobody else has.

        An integration's events are numbered in the order of their commits, since whoever writes one holds the
        integration (`kombo_embed.store.locks`). So an event that is seen has no earlier one that is not, and
        delivered stays delivered: what this reads can at worst be too old to take an event, not to leave one.
        """
        due = (
            select(outbox.c.id)
            .where(self._is_free(types, now), ~self._has_earlier(types))
            .order_by(outbox.c.id)
            .limit(limit)
        )
        async with self._database.reading() as connection:
            # Most looks find nothing: they must not stand in the line of the writers.
            if (await connection.execute(due)).first() is None:
                return []
        async with self._database.writing() as connection:
            # On PostgreSQL, what another process is taking at this moment is left to it.
            found = (await connection.execute(due.with_for_update(skip_locked=True, of=outbox))).scalars()
            rows = await connection.execute(
                update(outbox)
                .where(outbox.c.id.in_(found.all()))
                .values(
                    lease_owner=self._owner,
                    lease_ends_at=self._database.moment(now, seconds_later=lease_seconds),
                    attempts=outbox.c.attempts + 1,
                )
                .returning(outbox)
            )
            taken = [delivery for row in rows.mappings() if (delivery := _delivery(row)) is not None]
        return sorted(taken, key=lambda delivery: delivery.row_id)

    @finishing
    async def renew(self, deliveries: Sequence[Delivery], *, now: datetime, lease_seconds: float) -> None:
        """Keep events while their handlers still run, and note which of these are done."""
        until = self._database.moment(now, seconds_later=lease_seconds)
        async with self._database.writing() as connection:
            for ids, done in _by_done_handlers(deliveries):
                await connection.execute(self._note(ids, lease_ends_at=until, **done))

    @finishing
    async def save(self, outcomes: Sequence[DeliveryOutcome], *, now: datetime) -> None:
        """Note what became of events, in one transaction; what another holds now is left alone."""
        done = [outcome.delivery.row_id for outcome in outcomes if outcome.due_at is None]
        async with self._database.writing() as connection:
            if done:
                await connection.execute(self._note(done, delivered_at=now, **FREE))
            for outcome in outcomes:
                if outcome.due_at is not None:
                    await connection.execute(self._later(outcome, now))

    @finishing
    async def defer(self, delivery: Delivery, *, due_at: datetime) -> None:
        """Should this process die with the event, give it out no earlier than this."""
        async with self._database.writing() as connection:
            await connection.execute(self._note([delivery.row_id], due_at=due_at))

    @finishing
    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """Let go of events that were not finished, as if the handlers that are not done were never called."""
        async with self._database.writing() as connection:
            for ids, done in _by_done_handlers(deliveries):
                await connection.execute(self._note(ids, attempts=outbox.c.attempts - 1, **done, **FREE))

    def _later(self, outcome: DeliveryOutcome, now: datetime) -> Update:
        # An attempt that was put off is none.
        column, step = (outbox.c.failures, 1) if outcome.failed else (outbox.c.attempts, -1)
        return self._note(
            [outcome.delivery.row_id],
            done_handlers=list(outcome.done_handlers),
            due_at=outcome.due_at,
            given_up_at=now if outcome.dead else None,
            **{column.name: column + step},
            **FREE,
        )

    def _note(self, ids: Sequence[int], **values: object) -> Update:
        return update(outbox).where(outbox.c.id.in_(ids), self._is_ours()).values(**values)

    def _is_ours(self) -> ColumnElement[bool]:
        return and_(outbox.c.environment == self._environment, outbox.c.lease_owner == self._owner)

    def _is_free(self, types: Sequence[str], now: datetime) -> ColumnElement[bool]:
        return and_(
            outbox.c.environment == self._environment,
            outbox.c.delivered_at.is_(None),
            outbox.c.given_up_at.is_(None),
            outbox.c.type.in_(types),
            outbox.c.due_at <= now,
            or_(outbox.c.lease_ends_at.is_(None), outbox.c.lease_ends_at <= self._database.moment(now)),
        )

    def _has_earlier(self, types: Sequence[str]) -> ColumnElement[bool]:
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
    """Row ids that are alike in what to note of them: they can be written at once."""
    ids = defaultdict(list)
    for delivery in deliveries:
        ids[delivery.done_handlers].append(delivery.row_id)
    return [(alike, {"done_handlers": list(done)} if done else {}) for done, alike in ids.items()]


def _delivery(row: RowMapping) -> Delivery | None:
    try:
        integration = _from_json(row["integration"])
    except (TypeError, ValueError, KeyError):
        # Written by another version of this package: one like it delivers it, when our lease ends.
        logger.exception("outbox.unreadable: row %s", row["id"])
        return None
    event = Event(
        id=row["event_id"],
        type=row["type"],
        occurred_at=row["occurred_at"],
        origin_id=row["origin_id"],
        integration=integration,
        data=row["data"],
    )
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
