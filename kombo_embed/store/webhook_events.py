"""Received webhook events: each stored once, by Kombo's id of the event."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Executable, FromClause, bindparam, exists, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from kombo_embed import upstream
from kombo_embed.models import is_origin_id
from kombo_embed.store.tables import integrations, malformed_events, received_events
from kombo_embed.store.transaction import Transaction

TEXT_MAX_LENGTH = 255
# Built once, since it is executed often.
FIND_REPORTS = select(received_events.c.report).where(
    received_events.c.environment == bindparam("environment"),
    received_events.c.integration_id == bindparam("integration_id"),
    received_events.c.report.is_not(None),
)
LAST_RECEIVED = (
    select(received_events.c.received_at)
    .where(received_events.c.environment == bindparam("environment"))
    .order_by(received_events.c.received_at.desc())
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class SavedEvent:
    """A received event that was not saved before.

    ``has_states`` if states of its integration were, ``is_known`` if the integration itself was.
    """

    has_states: bool
    is_known: bool


async def save(
    transaction: Transaction, event: upstream.WebhookEvent, report: upstream.Report | None
) -> SavedEvent | None:
    """Save a received event; return None if it was saved before."""
    integration_id = integration_id_of(event, report)
    columns = {
        "environment": transaction.environment,
        "event_id": event.event_id,
        "type": event.type,
        "integration_id": integration_id,
        "data": event.data,
        "report": _state_to_json(report),
        "origin_id": origin_id_of(event, report),
        "received_at": transaction.now,
    }
    key = {"of_environment": transaction.environment, "of_integration_id": integration_id}
    statement = _insert_event(transaction.connection.dialect.name)
    saved = (await transaction.connection.execute(statement, columns | key)).first()
    return None if saved is None else SavedEvent(has_states=saved.has_states, is_known=saved.is_known)


@functools.cache
def _insert_event(dialect_name: str) -> Executable:
    """The statement also looks at what later ones of the transaction would ask: each is a round trip."""
    earlier = received_events.alias("earlier")
    has_states = exists().where(*_is_of_integration(earlier), earlier.c.report.is_not(None))
    is_known = exists().where(*_is_of_integration(integrations))
    dialect = postgresql if dialect_name == "postgresql" else sqlite
    statement = dialect.insert(received_events).on_conflict_do_nothing()
    found = has_states.label("has_states"), is_known.label("is_known")
    returning: Executable = statement.returning(received_events.c.event_id, *found)
    return returning


def _is_of_integration(table: FromClause) -> tuple[ColumnElement[bool], ...]:
    return (
        table.c.environment == bindparam("of_environment", type_=table.c.environment.type),
        table.c.integration_id == bindparam("of_integration_id", type_=table.c.integration_id.type),
    )


async def save_id(transaction: Transaction, event: upstream.WebhookEvent) -> None:
    """Save that an event was received, and nothing of its body."""
    await transaction.insert_once(
        received_events,
        environment=transaction.environment,
        event_id=event.event_id,
        type=event.type,
        data={},
        received_at=transaction.now,
    )


async def find_states(transaction: Transaction, integration_id: str) -> list[upstream.ReportedState]:
    """Return the states received for an integration, by Kombo's time, those without one first."""
    key = {"environment": transaction.environment, "integration_id": integration_id}
    reports = (await transaction.connection.execute(FIND_REPORTS, key)).scalars()
    states = [_state_from_json(integration_id, report) for report in reports if report is not None]
    return sorted(states, key=lambda state: state.updated_at.timestamp() if state.updated_at else 0.0)


async def save_malformed(transaction: Transaction, body: bytes, *, reason: str) -> None:
    """Save a signed body that cannot be parsed, or count its repetition."""
    connection, digest = transaction.connection, hashlib.sha256(body).hexdigest()
    table = malformed_events.c
    repeated = await connection.execute(
        update(malformed_events)
        .where(table.environment == transaction.environment, table.body_sha256 == digest)
        .values(times=table.times + 1, received_at=transaction.now)
    )
    if repeated.rowcount > 0:
        return
    await connection.execute(
        insert(malformed_events).values(
            environment=transaction.environment,
            body_sha256=digest,
            body=body,
            reason=reason,
            times=1,
            first_received_at=transaction.now,
            received_at=transaction.now,
        )
    )


def integration_id_of(event: upstream.WebhookEvent, report: upstream.Report | None) -> str | None:
    """Return Kombo's id of the integration that an event is about, if it names one."""
    match report:
        case upstream.ReportedIntegration() | upstream.ReportedState():
            return report.integration_id
        case upstream.ReportedDeletion():
            return report.integration.integration_id
        case upstream.FailedFlow():
            return None
        case None:
            integration = _mapping(event.data.get("integration"))
            return _text(event.data.get("integration_id")) or _text(integration.get("id"))


def origin_id_of(event: upstream.WebhookEvent, report: upstream.Report | None) -> str | None:
    """Return the origin id that an event names."""
    match report:
        case upstream.ReportedIntegration() | upstream.FailedFlow():
            return report.origin_id
        case upstream.ReportedDeletion():
            return report.integration.origin_id
        case _:
            return _origin_id_in(event)


def _origin_id_in(event: upstream.WebhookEvent) -> str | None:
    integration = _mapping(event.data.get("integration"))
    end_user = _mapping(event.data.get("end_user") or integration.get("end_user"))
    origin_id = end_user.get("origin_id")
    return origin_id if isinstance(origin_id, str) and is_origin_id(origin_id) else None


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    if not isinstance(value, str) or "\x00" in value:
        return None
    return value if 0 < len(value) <= TEXT_MAX_LENGTH else None


def _state_to_json(report: upstream.Report | None) -> dict[str, str | None] | None:
    if not isinstance(report, upstream.ReportedState):
        return None
    return {
        "status": report.status,
        "setup_status": report.setup_status,
        "qa_status": report.qa_status,
        "updated_at": report.updated_at.isoformat() if report.updated_at else None,
    }


def _state_from_json(integration_id: str, value: dict[str, str | None]) -> upstream.ReportedState:
    updated_at = value["updated_at"]
    return upstream.ReportedState(
        integration_id=integration_id,
        status=value["status"],
        setup_status=value["setup_status"],
        qa_status=value.get("qa_status"),
        updated_at=datetime.fromisoformat(updated_at) if updated_at else None,
    )
