"""What a received event does, inside a transaction under way."""

from __future__ import annotations

from kombo_embed.store import webhook_events
from kombo_embed.store.integrations import Records
from kombo_embed.store.outbox import write_event
from kombo_embed.store.transaction import Rows, read
from kombo_embed.upstream import (
    FailedFlow,
    Report,
    ReportedDeletion,
    ReportedIntegration,
    ReportedState,
    WebhookEvent,
)


async def apply(records: Records, event: WebhookEvent, report: Report | None) -> str | None:
    """Keep an event, once, and record what it tells, once; the origin id whose links it ends.

    That is told again with an event received again: whoever received it first may have crashed before the
    links were dropped.
    """
    if await webhook_events.keep(records, event, report):
        await _record(records, event, report)
    return await _ends_links_of(records, event, report)


async def _record(records: Records, event: WebhookEvent, report: Report | None) -> None:
    match report:
        case ReportedIntegration():
            await records.connect(report, origin_id=report.origin_id, learnt_by="webhook")
        case ReportedDeletion():
            await records.delete(report)
        case ReportedState():
            await records.change_state(report)
        case FailedFlow():
            await _tell_failure(records, report)
        case None:
            await _pass_on(records, event)


async def _ends_links_of(rows: Rows, event: WebhookEvent, report: Report | None) -> str | None:
    match report:
        case ReportedIntegration(origin_id=named) | ReportedDeletion(ReportedIntegration(origin_id=named)):
            pass
        case ReportedState(status="ACTIVE"):
            named = None
        case _:
            return None
    row = await rows.row(webhook_events.integration_id_of(event, report) or "")
    return named if row is None else row["origin_id"] or named


async def _tell_failure(rows: Rows, flow: FailedFlow) -> None:
    await write_event(
        rows.connection,
        environment=rows.environment,
        type_="flow.failed",
        origin_id=flow.origin_id,
        integration=None,
        data={"tool": flow.tool, "category": flow.category, "log_url": flow.log_url},
        now=rows.now,
    )


async def _pass_on(rows: Rows, event: WebhookEvent) -> None:
    """Hand over an event of a type that means nothing here, with the record that it is about."""
    integration_id = webhook_events.integration_id_of(event, None)
    row = await rows.held_row(integration_id) if integration_id else None
    integration = read(row) if row and row["deleted_at"] is None else None
    known = integration.origin_id if integration else None
    await write_event(
        rows.connection,
        environment=rows.environment,
        type_="kombo.event",
        origin_id=webhook_events.origin_id_of(event) or known,
        integration=integration,
        data={"id": event.event_id, "type": event.type, "data": event.data},
        now=rows.now,
    )
