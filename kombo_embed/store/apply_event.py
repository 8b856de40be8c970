"""Applies a received webhook event within a transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from kombo_embed import upstream
from kombo_embed.store import erasure_marks, integrations, merge, webhook_events
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
        return True
    possible = merge.with_possible_time(report, now=transaction.now)
    if saved := await webhook_events.save(transaction, event, possible):
        if isinstance(possible, upstream.ReportedState):
            # Kombo knows whether a state with an impossible time is the current one.
            changed = await _save_state(transaction, possible, read_again=possible is not report)
        else:
            changed = await _save_report(transaction, event, possible, has_states=saved.has_states)
        transaction.invalidate(changed)
    return True


async def _save_state(
    transaction: Transaction, state: upstream.ReportedState, *, read_again: bool
) -> str | None:
    """Save a state; return the origin id whose links it invalidates."""
    known = await integrations.save_state(transaction, state, read_again=read_again)
    return known.origin_id if known and state.status == "ACTIVE" else None


async def _save_report(
    transaction: Transaction,
    event: upstream.WebhookEvent,
    report: upstream.ReportedIntegration | upstream.ReportedDeletion | upstream.FailedFlow | None,
    *,
    has_states: bool,
) -> str | None:
    """Save what an event reports; return the origin id whose links it invalidates, if no change does."""
    match report:
        case upstream.ReportedIntegration():
            # Here Kombo names the end user who connected it; in other events it may be another one.
            caused = replace(transaction, actor=report.email)
            saved = await integrations.save(
                caused, report, origin_id=report.origin_id, source="webhook", has_states=has_states
            )
            return saved.integration.origin_id if saved else report.origin_id
        case upstream.ReportedDeletion():
            await integrations.save_deleted(transaction, report.integration)
        case upstream.FailedFlow():
            await write_event(
                transaction,
                "flow.failed",
                origin_id=report.origin_id,
                actor=report.email,
                data={"tool": report.tool, "category": report.category, "log_url": report.log_url},
            )
        case None:
            await _forward(transaction, event)
    return None


async def _forward(transaction: Transaction, event: upstream.WebhookEvent) -> None:
    """Write `kombo.event` for an event of another type, with the integration that it is about."""
    integration_id = webhook_events.integration_id_of(event, None)
    row = await integrations.lock_row(transaction, integration_id) if integration_id else None
    integration = integrations.from_row(row) if row and row["deleted_at"] is None else None
    known = integration.origin_id if integration else None
    await write_event(
        transaction,
        "kombo.event",
        origin_id=webhook_events.origin_id_of(event, None) or known,
        integration=integration,
        data={"id": event.event_id, "type": event.type, "data": event.data},
    )
