"""Kombo's events as received: each kept once, by Kombo's id of it, inside a transaction under way."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from kombo_embed.reports import (
    FailedFlow,
    Report,
    ReportedDeletion,
    ReportedIntegration,
    ReportedState,
    WebhookEvent,
)
from kombo_embed.store.inserts import insert_once
from kombo_embed.store.records import Records
from kombo_embed.store.tables import received_events


async def keep(records: Records, event: WebhookEvent, report: Report | None) -> bool:
    """Keep an event; False if it was kept before."""
    return await insert_once(
        records.connection,
        received_events,
        environment=records.environment,
        event_id=event.event_id,
        type=event.type,
        integration_id=_integration_id(report),
        data=event.data,
        report=_state_to_json(report),
        received_at=records.now,
    )


async def states_of(records: Records, integration_id: str) -> list[ReportedState]:
    """The states that were told of an integration, by Kombo's time, those without one first."""
    query = select(received_events.c.report).where(
        received_events.c.environment == records.environment,
        received_events.c.integration_id == integration_id,
        received_events.c.report.is_not(None),
    )
    rows = (await records.connection.execute(query)).scalars()
    states = [_state_from_json(integration_id, row) for row in rows if row is not None]
    return sorted(states, key=lambda state: state.updated_at.timestamp() if state.updated_at else 0.0)


def _integration_id(report: Report | None) -> str | None:
    match report:
        case ReportedIntegration() | ReportedState():
            return report.integration_id
        case ReportedDeletion():
            return report.integration.integration_id
        case FailedFlow() | None:
            return None


def _state_to_json(report: Report | None) -> dict[str, str | None] | None:
    if not isinstance(report, ReportedState):
        return None
    updated_at = report.updated_at.isoformat() if report.updated_at else None
    return {"status": report.status, "setup_status": report.setup_status, "updated_at": updated_at}


def _state_from_json(integration_id: str, value: dict[str, str | None]) -> ReportedState:
    updated_at = value["updated_at"]
    return ReportedState(
        integration_id=integration_id,
        status=value["status"],
        setup_status=value["setup_status"],
        updated_at=datetime.fromisoformat(updated_at) if updated_at else None,
    )
