"""Applies a received webhook event within a transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from kombo_embed import upstream
from kombo_embed.store import erasure_marks, integrations, queries, webhook_events
from kombo_embed.store.outbox import write_event
from kombo_embed.store.transaction import Transaction


async def apply(
    transaction: Transaction,
    event: upstream.WebhookEvent,
    report: upstream.Report | None,
    *,
    created_at: datetime | None = None,
    unless_erased: bool = False,
) -> bool:
    """Save an event and what it reports, once. A duplicate delivery changes and invalidates nothing.

    Of an event about an erased customer only the id is saved, unless Kombo created the integration later, at
    ``created_at``. With ``unless_erased``, nothing is saved then, and the result is False.
    """
    integration_id = webhook_events.integration_id_of(event, report)
    origin_id = webhook_events.origin_id_of(event, report)
    if not await erasure_marks.admits(
        transaction, integration_id, origin_id=origin_id, created_at=created_at
    ):
        if unless_erased:
            return False
        await webhook_events.save_id(transaction, event)
    elif saved := await webhook_events.save(transaction, event, report):
        transaction.invalidate(await _save_report(transaction, event, report, saved=saved))
    return True


async def _save_report(
    transaction: Transaction,
    event: upstream.WebhookEvent,
    report: upstream.Report | None,
    *,
    saved: webhook_events.SavedEvent,
) -> str | None:
    """Save what an event reports; return the origin id whose links it invalidates, if no change does."""
    match report:
        case upstream.ReportedIntegration():
            return await _save_integration(transaction, report, saved)
        case upstream.ReportedDeletion():
            await integrations.save_deleted(transaction, report.integration)
        case upstream.ReportedState():
            known = await integrations.save_state(transaction, report)
            return known.origin_id if known and report.status == "ACTIVE" else None
        case upstream.FailedFlow():
            await _report_failure(transaction, report)
        case None:
            await _forward(transaction, event)
    return None


async def _save_integration(
    transaction: Transaction, report: upstream.ReportedIntegration, saved: webhook_events.SavedEvent
) -> str | None:
    # Here Kombo names the end user who connected it; in other events it may be another one.
    completion = await integrations.save(
        replace(transaction, actor=report.email),
        report,
        origin_id=report.origin_id,
        source="webhook",
        has_states=saved.has_states,
        is_known=saved.is_known,
    )
    return completion.integration.origin_id if completion else report.origin_id


async def _report_failure(transaction: Transaction, flow: upstream.FailedFlow) -> None:
    data: dict[str, object] = {"tool": flow.tool, "category": flow.category, "log_url": flow.log_url}
    await write_event(transaction, "flow.failed", origin_id=flow.origin_id, actor=flow.email, data=data)


async def _forward(transaction: Transaction, event: upstream.WebhookEvent) -> None:
    """Write `kombo.event` for an event of another type, with the integration that it is about."""
    integration_id = webhook_events.integration_id_of(event, None)
    row = await queries.lock_row(transaction, integration_id) if integration_id else None
    integration = queries.from_row(row) if row and row["deleted_at"] is None else None
    known = integration.origin_id if integration else None
    await write_event(
        transaction,
        "kombo.event",
        origin_id=webhook_events.origin_id_of(event, None) or known,
        integration=integration,
        data={"id": event.event_id, "type": event.type, "data": event.data},
    )
