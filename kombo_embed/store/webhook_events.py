"""Kombo's events as received: each kept once, by Kombo's id of it, inside a transaction under way."""

from __future__ import annotations

import hashlib
from datetime import datetime

from sqlalchemy import insert, select, update

from kombo_embed.store.inserts import insert_once
from kombo_embed.store.tables import malformed_events, received_events
from kombo_embed.store.transaction import Rows
from kombo_embed.upstream import (
    FailedFlow,
    Report,
    ReportedDeletion,
    ReportedIntegration,
    ReportedState,
    WebhookEvent,
)

TEXT_MAX_LENGTH = 255


async def keep(rows: Rows, event: WebhookEvent, report: Report | None) -> bool:
    """Keep an event; False if it was kept before."""
    return await insert_once(
        rows.connection,
        received_events,
        environment=rows.environment,
        event_id=event.event_id,
        type=event.type,
        integration_id=integration_id_of(event, report),
        data=event.data,
        report=_state_to_json(report),
        received_at=rows.now,
    )


async def states_of(rows: Rows, integration_id: str) -> list[ReportedState]:
    """The states that were told of an integration, by Kombo's time, those without one first."""
    query = select(received_events.c.report).where(
        received_events.c.environment == rows.environment,
        received_events.c.integration_id == integration_id,
        received_events.c.report.is_not(None),
    )
    kept = (await rows.connection.execute(query)).scalars()
    states = [_state_from_json(integration_id, report) for report in kept if report is not None]
    return sorted(states, key=lambda state: state.updated_at.timestamp() if state.updated_at else 0.0)


async def keep_malformed(rows: Rows, body: bytes, *, reason: str) -> None:
    """Keep a signed body that is no event, once, however often Kombo sends it."""
    digest = hashlib.sha256(body).hexdigest()
    again = await rows.connection.execute(
        update(malformed_events)
        .where(malformed_events.c.environment == rows.environment, malformed_events.c.body_sha256 == digest)
        .values(times=malformed_events.c.times + 1, received_at=rows.now)
    )
    if again.rowcount == 0:
        await rows.connection.execute(
            insert(malformed_events).values(
                environment=rows.environment,
                body_sha256=digest,
                body=body,
                reason=reason,
                times=1,
                first_received_at=rows.now,
                received_at=rows.now,
            )
        )


def integration_id_of(event: WebhookEvent, report: Report | None) -> str | None:
    """Kombo's id of the integration that an event is about, where it names one."""
    match report:
        case ReportedIntegration() | ReportedState():
            return report.integration_id
        case ReportedDeletion():
            return report.integration.integration_id
        case FailedFlow():
            return None
        case None:
            about = _mapping(event.data.get("integration"))
            return _text(event.data.get("integration_id")) or _text(about.get("id"))


def origin_id_of(event: WebhookEvent) -> str | None:
    """The origin id that an event of another type names."""
    about = _mapping(event.data.get("integration"))
    end_user = _mapping(event.data.get("end_user") or about.get("end_user"))
    return _text(end_user.get("origin_id"))


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= TEXT_MAX_LENGTH else None


def _state_to_json(report: Report | None) -> dict[str, str | None] | None:
    if not isinstance(report, ReportedState):
        return None
    updated_at = report.updated_at.isoformat() if report.updated_at else None
    return {
        "status": report.status,
        "setup_status": report.setup_status,
        "qa_status": report.qa_status,
        "updated_at": updated_at,
    }


def _state_from_json(integration_id: str, value: dict[str, str | None]) -> ReportedState:
    updated_at = value["updated_at"]
    return ReportedState(
        integration_id=integration_id,
        status=value["status"],
        setup_status=value["setup_status"],
        qa_status=value.get("qa_status"),
        updated_at=datetime.fromisoformat(updated_at) if updated_at else None,
    )
