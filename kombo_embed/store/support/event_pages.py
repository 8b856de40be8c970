"""Pages of events and of webhooks, and the acts of people on deliveries, which the audit trail names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import literal_column, select, union

from kombo_embed.store import audit, host_events, replay
from kombo_embed.store.database import read_only, run_to_completion
from kombo_embed.store.host_events import HostEvent
from kombo_embed.store.lanes import AFTER_ALL, UNDELIVERED
from kombo_embed.store.part import StorePart
from kombo_embed.store.tables import deliveries, ended_deliveries, malformed_events, received_events
from kombo_embed.store.transaction import Transaction

# A literal, as the condition of the index.
FAILED_BEFORE = deliveries.c.failures > literal_column("0")


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events to list, the newest first; ``handler``: only those that it has not finished."""

    limit: int
    before: str | None = None
    types: tuple[str, ...] = ()
    origin_id: str | None = None
    integration_id: str | None = None
    undelivered: bool = False
    handler: str | None = None


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """A webhook event as Kombo sent it."""

    event_id: str
    type: str
    integration_id: str | None
    origin_id: str | None
    received_at: datetime
    data: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class MalformedEvent:
    """A signed body that could not be parsed."""

    body_sha256: str
    reason: str
    times: int
    first_received_at: datetime
    received_at: datetime
    body: bytes = field(repr=False)


class EventPages(StorePart):
    """The events and webhooks of one environment."""

    @read_only
    async def list(self, query: EventQuery) -> list[HostEvent] | None:
        """Return a page of events; None if no event is the one that it follows."""
        async with self._reading() as transaction:
            place = None if query.before is None else await host_events.find(transaction, query.before)
            if query.before is not None and place is None:
                return None
            if query.handler is not None:
                before = place.row_id if place else None
                ids = await _unfinished_by(transaction, query.handler, before=before, limit=query.limit)
            elif query.undelivered:
                return await host_events.list_events(
                    transaction, delivered=False, limit=query.limit, before=place
                )
            else:
                ids = await host_events.find_newest(
                    transaction,
                    limit=query.limit,
                    types=query.types,
                    origin_id=query.origin_id,
                    integration_id=query.integration_id,
                    before=place.row_id if place else None,
                )
            return await host_events.read_all(transaction, ids)

    @read_only
    async def find(self, event_id: str) -> HostEvent | None:
        """Return one event by its id, or the beginning of its id."""
        async with self._reading() as transaction:
            place = await host_events.find(transaction, event_id)
            return None if place is None else await host_events.read_one(transaction, place)

    @run_to_completion
    async def replay(self, event_id: str, *, actor: str) -> bool:
        """Make an event's unfinished deliveries due now; return whether there are any."""
        async with self._writing(actor) as transaction:
            place = await host_events.find(transaction, event_id)
            if place is None or not await replay.replay_event(transaction, place):
                return False
            await _write_audit(transaction, "event_replayed", await host_events.read_one(transaction, place))
            return True

    @run_to_completion
    async def resend(self, event_id: str, *, handler: str | None, actor: str) -> Sequence[str]:
        """Deliver an event again to its handlers, or one of them; return the names of those that get it."""
        async with self._writing(actor) as transaction:
            place = await host_events.find(transaction, event_id)
            if place is None:
                return []
            names = await replay.resend_event(transaction, place, handler=handler)
            if names:
                event = await host_events.read_one(transaction, place)
                await _write_audit(transaction, "event_resent", event, detail={"handlers": names})
            return names

    @read_only
    async def received(self, *, limit: int, before: datetime | None) -> Sequence[ReceivedEvent]:
        """Return the webhook events that were received last."""
        columns = [received_events.c[name] for name in ReceivedEvent.__dataclass_fields__]
        query = select(*columns).where(received_events.c.environment == self._environment)
        if before is not None:
            query = query.where(received_events.c.received_at < before)
        newest = query.order_by(received_events.c.received_at.desc()).limit(limit)
        async with self._reading() as transaction:
            rows = await transaction.connection.execute(newest)
            return [ReceivedEvent(**row) for row in rows.mappings()]

    @read_only
    async def malformed(self, *, limit: int) -> Sequence[MalformedEvent]:
        """Return the newest signed bodies that could not be parsed."""
        columns = [malformed_events.c[name] for name in MalformedEvent.__dataclass_fields__]
        query = select(*columns).where(malformed_events.c.environment == self._environment)
        newest = query.order_by(malformed_events.c.received_at.desc()).limit(limit)
        async with self._reading() as transaction:
            rows = await transaction.connection.execute(newest)
            return [MalformedEvent(**row) for row in rows.mappings()]


async def _write_audit(
    transaction: Transaction, action: str, event: HostEvent, *, detail: dict[str, Any] | None = None
) -> None:
    about: dict[str, Any] = {"origin_id": event.origin_id, "integration_id": event.integration_id}
    await audit.write(transaction, action, event_id=event.id, detail=detail, **about)


async def _unfinished_by(
    transaction: Transaction, handler: str, *, before: int | None, limit: int
) -> list[int]:
    """Return the events that a handler failed, the dead letters and parked ones included."""
    parts = []
    for table, condition in ((deliveries, FAILED_BEFORE), (ended_deliveries, UNDELIVERED)):
        query = select(table.c.event_row_id).where(
            table.c.environment == transaction.environment,
            table.c.handler == handler,
            table.c.event_row_id < (AFTER_ALL if before is None else before),
            condition,
        )
        newest = query.order_by(table.c.event_row_id.desc()).limit(limit)
        parts.append(select(newest.subquery().c.event_row_id))
    both = union(*parts).order_by(parts[0].selected_columns.event_row_id.desc()).limit(limit)
    return list((await transaction.connection.execute(both)).scalars())
