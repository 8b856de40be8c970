"""Integrations: what each report of Kombo's changes.

A change writes its event for the host in the same transaction. Reports arrive in any order and any number of
times; by the rules of `kombo_embed.store.merge` the row ends the same.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from sqlalchemy import RowMapping, bindparam, insert, update

from kombo_embed.integration import Completion, Integration
from kombo_embed.store import audit, details_due, erasing, erasure_marks, merge, minted_links, webhook_events
from kombo_embed.store.duplicates import HAS_EQUAL, KEY, report_duplicates
from kombo_embed.store.outbox import write_event
from kombo_embed.store.queries import from_row, lock_row
from kombo_embed.store.tables import integrations
from kombo_embed.store.transaction import Transaction
from kombo_embed.upstream import IntegrationDetails, ReportedIntegration, ReportedState

Source = Literal["browser", "webhook"]

# Built once, since they are executed often.
INSERT = insert(integrations).returning(integrations, HAS_EQUAL.label("has_equal"))
UPDATE = update(integrations).where(integrations.c.id == bindparam("row_id")).returning(integrations)

# A change of one of these is an integration.updated.
REPORTED_TO_HOST = {"status", "setup_status", "category", "origin_id"}
REPORTED_WITH_OTHERS = {"tool_label", "logo_url"}
PUBLIC_ID_BYTES = 16


async def save(
    transaction: Transaction,
    reported: ReportedIntegration,
    *,
    origin_id: str | None,
    source: Source,
    has_states: bool = True,  # whether Kombo may have reported a state of it before
    is_known: bool = True,  # whether it may have been recorded before
) -> Completion | None:
    """Record a reported integration, or what is new about a known one; return None if it is deleted."""
    # The caller has locked it and its origin id: see `erasure_marks.lock`.
    row = await lock_row(transaction, reported.integration_id) if is_known else None
    if row is None:
        values = await _first_report(transaction, reported, origin_id=origin_id, source=source)
        return await _save_first(transaction, reported.integration_id, values, has_states=has_states)
    if row["deleted_at"] is not None:
        return None
    values = merge.report_changes(row, reported, origin_id=origin_id)
    if row["category"] is None and values.get("origin_id") and "category" not in values:
        values |= await minted_links.guess_category(transaction, values["origin_id"], reported.tool)
    integration = await save_changes(transaction, row, values)
    # A flow that was completed for a known integration was one to reconnect it or to finish its setup.
    has_acted = source == "browser" and integration.next_action != "none"
    await details_due.request(transaction, {**row, **values}, again=has_acted)
    return Completion(integration, first=False)


async def save_imported(
    transaction: Transaction, details: IntegrationDetails, values: merge.Values
) -> RowMapping:
    """Record an integration that existed before, with Kombo's details. No handler is called for it."""
    row = await _insert(
        transaction, details.integration_id, tool=details.tool, checked_at=transaction.now, **values
    )
    row = await _merge_reported_states(transaction, row)
    changes = merge.details_changes(row, details, changed_meanwhile=False)
    row = await _update(transaction, row, changes) if changes else row
    await report_duplicates(transaction, row)
    return row


async def save_deleted(
    transaction: Transaction,
    integration: Integration | ReportedIntegration,
    *,
    unless_changed_since: datetime | None = None,
) -> None:
    """Mark an integration as deleted, even if it was not known before.

    The caller has verified that a report about it is admitted; see `erasure_marks.admits`.
    """
    row = await lock_row(transaction, integration.integration_id)
    if row is None:
        values = _first_values(integration, origin_id=integration.origin_id, source="webhook")
        await _insert(transaction, integration.integration_id, **values, deleted_at=transaction.now)
        transaction.invalidate(integration.origin_id)
    elif row["deleted_at"] is None and unless_changed_since in (None, row["updated_at"]):
        origin_id = row["origin_id"] or integration.origin_id
        values = {"origin_id": origin_id, "deleted_at": transaction.now, "details_due_at": None}
        row = await _update(transaction, row, values)
        await _write_event(transaction, "integration.deleted", row)
        await audit.write_about(transaction, "disconnected", row)
        transaction.invalidate(origin_id)


async def save_state(transaction: Transaction, state: ReportedState) -> Integration | None:
    """Merge a reported state into a known integration; `_save_first` merges it into a later one."""
    row = await lock_row(transaction, state.integration_id)
    if row is None or row["deleted_at"] is not None:
        return None
    values = merge.state_changes(row, state, now=transaction.now)
    # Kombo knows whether a state that was outvoted is the current one after all.
    is_outvoted = merge.is_outvoted(row, state, now=transaction.now)
    await details_due.request(transaction, {**row, **values}, again=is_outvoted)
    return await save_changes(transaction, row, values)


async def save_details(
    transaction: Transaction, details: IntegrationDetails, *, states_unless_changed_since: datetime
) -> Integration | None:
    """Merge Kombo's current details, which are not due then; return the integration if that changed it."""
    await erasure_marks.lock(transaction, details.integration_id)
    row = await lock_row(transaction, details.integration_id)
    if row is None or row["deleted_at"] is not None:
        return None
    about = row["origin_id"] or details.origin_id
    if not await erasure_marks.admits(
        transaction, details.integration_id, origin_id=about, created_at=details.created_at
    ):
        await erasing.remove_integration(transaction, details.integration_id, origin_id=about)
        return None
    changed_meanwhile = row["updated_at"] != states_unless_changed_since
    values = merge.details_changes(row, details, changed_meanwhile=changed_meanwhile)
    integration = await save_changes(transaction, row, values) if values else None
    await details_due.save_read(transaction, {**row, **values}, details)
    return integration


async def _first_report(
    transaction: Transaction, reported: ReportedIntegration, *, origin_id: str | None, source: Source
) -> merge.Values:
    values = _first_values(reported, origin_id=origin_id, source=source)
    values["details_due_at"] = details_due.AT_ONCE
    if reported.category is None and origin_id is not None:
        values |= await minted_links.guess_category(transaction, origin_id, reported.tool)
    return values


async def _save_first(
    transaction: Transaction, integration_id: str, values: merge.Values, *, has_states: bool
) -> Completion:
    row = await _insert(transaction, integration_id, **values)
    has_equal = row["has_equal"]
    row = await _merge_reported_states(transaction, row) if has_states else row
    integration = await _write_event(transaction, "integration.connected", row)
    await audit.write_about(transaction, "connected", row, actor=transaction.actor or row["email"])
    if has_equal:
        await report_duplicates(transaction, row)
    return Completion(integration, first=True)


async def _merge_reported_states(transaction: Transaction, row: RowMapping) -> RowMapping:
    """Merge the states that Kombo reported before the integration was known; return its row."""
    for state in await webhook_events.find_states(transaction, row["integration_id"]):
        changes = merge.state_changes(row, state, now=transaction.now)
        if changes:
            row = await _update(transaction, row, changes)
    return row


async def save_changes(transaction: Transaction, row: RowMapping, values: merge.Values) -> Integration:
    """Save what changes in an integration's row, with its events and entries in the audit trail."""
    if not values:
        return from_row(row)
    before, row = row, await _update(transaction, row, values)
    actor = await audit.write_progress(transaction, before, row)
    if values.keys() & REPORTED_TO_HOST:
        named = sorted(values.keys() & (REPORTED_TO_HOST | REPORTED_WITH_OTHERS))
        changes = {name: {"from": before[name], "to": row[name]} for name in named}
        await _write_event(transaction, "integration.updated", row, {"changes": changes}, actor=actor)
    if values.keys() & {"origin_id", "category", "category_guessed"}:
        await report_duplicates(transaction, row)
    return from_row(row)


async def _insert(transaction: Transaction, integration_id: str, **values: object) -> RowMapping:
    columns = {
        "environment": transaction.environment,
        "integration_id": integration_id,
        "public_id": secrets.token_urlsafe(PUBLIC_ID_BYTES),
        "connected_at": transaction.now,
        "updated_at": transaction.now,
        **values,
    }
    about = {f"of_{name}": columns.get(name) for name in KEY}
    row = (await transaction.connection.execute(INSERT, columns | about)).mappings().one()
    transaction.invalidate_lists(row["origin_id"])
    return row


async def _update(transaction: Transaction, row: RowMapping, values: Mapping[str, object]) -> RowMapping:
    # updated_at increases with each change, even if the clock stands still.
    updated_at = max(transaction.now, row["updated_at"] + merge.JUST_AFTER)
    columns = {"row_id": row["id"], "updated_at": updated_at, **values}
    changed = (await transaction.connection.execute(UPDATE, columns)).mappings().one()
    transaction.invalidate_lists(changed["origin_id"])
    return changed


async def _write_event(
    transaction: Transaction,
    event_type: str,
    row: RowMapping,
    data: dict[str, object] | None = None,
    *,
    actor: str | None = None,
) -> Integration:
    integration = from_row(row)
    await write_event(
        transaction,
        event_type,
        origin_id=integration.origin_id,
        integration=integration,
        data=data or {},
        actor=actor,
    )
    return integration


def _first_values(
    reported: Integration | ReportedIntegration, *, origin_id: str | None, source: Source
) -> merge.Values:
    names = ("tool", "category", "organization_name", "email", "setup_status")
    values = {name: getattr(reported, name) for name in names}
    return values | {"origin_id": origin_id, "learnt_by": source}
