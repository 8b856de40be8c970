"""Integrations: queries, and what each report of Kombo's changes.

A change writes its event for the host in the same transaction. Reports arrive in any order and any number of
times; by the rules of `kombo_embed.store.merge` the row ends the same.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from operator import itemgetter
from typing import Any, Literal

from sqlalchemy import ColumnElement, RowMapping, bindparam, func, insert, select, tuple_, update

from kombo_embed.integration import Completion, Integration
from kombo_embed.store import audit, details_due, erasing, erasure_marks, merge, minted_links, webhook_events
from kombo_embed.store.outbox import write_event
from kombo_embed.store.tables import integrations
from kombo_embed.store.transaction import Transaction
from kombo_embed.upstream import IntegrationDetails, ReportedIntegration, ReportedState

Source = Literal["browser", "webhook"]

# Built once, since they are executed often.
FIND = select(integrations).where(
    integrations.c.environment == bindparam("environment"),
    integrations.c.integration_id == bindparam("integration_id"),
)
INSERT = insert(integrations).returning(integrations)
UPDATE = update(integrations).where(integrations.c.id == bindparam("row_id")).returning(integrations)

# A change of one of these is an integration.updated.
REPORTED_TO_HOST = {"status", "setup_status", "category", "origin_id"}
REPORTED_WITH_OTHERS = {"tool_label", "logo_url"}
DUPLICATES_NAMED = 10  # the oldest ones, in an event
OLDEST_FIRST = (integrations.c.connected_at, integrations.c.id)
SAME = ("origin_id", "tool", "category")  # in what duplicates are equal
OLDEST_OTHER = (
    select(integrations)
    .where(
        integrations.c.environment == bindparam("environment"),
        integrations.c.deleted_at.is_(None),
        *(integrations.c[name] == bindparam(f"same_{name}") for name in SAME),
        integrations.c.category_guessed.is_(False),
        integrations.c.id != bindparam("same_id"),
    )
    .order_by(*OLDEST_FIRST)
    .limit(1)
)
PUBLIC_ID_BYTES = 16
PUBLIC_ID = re.compile(r"[A-Za-z0-9_-]{22}")  # so many bytes in base64url, without padding


async def find(transaction: Transaction, integration_id: str) -> Integration | None:
    """Return an integration by Kombo's id."""
    return await _find_one(transaction, integrations.c.integration_id == integration_id)


async def find_public(transaction: Transaction, public_id: str, origin_id: str) -> Integration | None:
    """Return an integration by its public id if it belongs to this origin id."""
    if PUBLIC_ID.fullmatch(public_id) is None:
        return None
    return await _find_one(
        transaction, integrations.c.public_id == public_id, integrations.c.origin_id == origin_id
    )


async def list_of(transaction: Transaction, origin_id: str) -> list[Integration]:
    """Return an origin id's integrations, oldest first."""
    query = _not_deleted(transaction, integrations.c.origin_id == origin_id).order_by(*OLDEST_FIRST)
    return [from_row(row) for row in (await transaction.connection.execute(query)).mappings()]


async def list_after(transaction: Transaction, integration_id: str, *, limit: int) -> list[Integration]:
    """Return the next page of all integrations, ordered by Kombo's id."""
    query = _not_deleted(transaction, integrations.c.integration_id > integration_id)
    page = query.order_by(integrations.c.integration_id).limit(limit)
    return [from_row(row) for row in (await transaction.connection.execute(page)).mappings()]


async def find_row(transaction: Transaction, integration_id: str) -> RowMapping | None:
    """Return an integration's row, also of a deleted one."""
    key = {"environment": transaction.environment, "integration_id": integration_id}
    return (await transaction.connection.execute(FIND, key)).mappings().one_or_none()


async def lock_row(transaction: Transaction, integration_id: str) -> RowMapping | None:
    """Lock an integration until the transaction ends, then return its row, also of a deleted one."""
    await transaction.lock(integration_id)
    return await find_row(transaction, integration_id)


def from_row(row: RowMapping) -> Integration:
    """Return the integration in a row."""
    return Integration(**{name: row[name] for name in Integration.__dataclass_fields__})


async def save(
    transaction: Transaction,
    reported: ReportedIntegration,
    *,
    origin_id: str | None,
    source: Source,
    has_states: bool = True,
) -> Completion | None:
    """Record a reported integration, or what is new about a known one; return None if it is deleted.

    ``has_states`` is False if Kombo is known to have reported no state of it before.
    """
    row = await lock_row(transaction, reported.integration_id)
    if row is None:
        values = await _first_report(transaction, reported, origin_id=origin_id, source=source)
        return await _save_first(transaction, reported.integration_id, values, has_states=has_states)
    if row["deleted_at"] is not None:
        return None
    values = merge.report_changes(row, reported, origin_id=origin_id, now=transaction.now)
    if row["category"] is None and values.get("origin_id") and "category" not in values:
        values |= await minted_links.guess_category(transaction, values["origin_id"], reported.tool)
    integration = await _save_changes(transaction, row, values)
    # A flow that was completed for a known integration was one to reconnect it or to finish its setup.
    has_acted = source == "browser" and integration.next_action != "none"
    await details_due.request(transaction, {**row, **values}, again=has_acted)
    return Completion(integration, first=False)


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


async def save_state(
    transaction: Transaction, state: ReportedState, *, read_again: bool = False
) -> Integration | None:
    """Merge a reported state into a known integration; `_save_first` merges it into a later one.

    With ``read_again``, the details are due also if all are known.
    """
    row = await lock_row(transaction, state.integration_id)
    if row is None or row["deleted_at"] is not None:
        return None
    values = merge.state_changes(row, state, now=transaction.now)
    await details_due.request(transaction, {**row, **values}, again=read_again)
    return await _save_changes(transaction, row, values)


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
    values = merge.details_changes(row, details, changed_meanwhile=changed_meanwhile, now=transaction.now)
    integration = await _save_changes(transaction, row, values) if values else None
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
    # States that Kombo reported before count from now on.
    for state in await webhook_events.find_states(transaction, integration_id) if has_states else []:
        changes = merge.state_changes(row, state, now=transaction.now)
        if changes:
            row = await _update(transaction, row, changes)
    integration = await _write_event(transaction, "integration.connected", row)
    await audit.write_about(transaction, "connected", row, actor=transaction.actor or row["email"])
    await _report_duplicates(transaction, row)
    return Completion(integration, first=True)


async def _save_changes(transaction: Transaction, row: RowMapping, values: merge.Values) -> Integration:
    if not values:
        return from_row(row)
    before, row = row, await _update(transaction, row, values)
    await audit.write_progress(transaction, before, row)
    if values.keys() & REPORTED_TO_HOST:
        named = sorted(values.keys() & (REPORTED_TO_HOST | REPORTED_WITH_OTHERS))
        changes = {name: {"from": before[name], "to": row[name]} for name in named}
        await _write_event(transaction, "integration.updated", row, {"changes": changes})
    if values.keys() & {"origin_id", "category", "category_guessed"}:
        await _report_duplicates(transaction, row)
    return from_row(row)


async def _report_duplicates(transaction: Transaction, row: RowMapping) -> None:
    """Write `integration.duplicate`, once, for the newer one if another integration equals this one.

    They are equal in origin id, tool and category. Kombo does not prevent this. All but the oldest of several
    were reported before.
    """
    if row["deleted_at"] is not None or row["origin_id"] is None or row["category"] is None:
        return
    await transaction.lock(erasure_marks.ORIGIN, row["origin_id"])
    same = {f"same_{name}": row[name] for name in (*SAME, "id")} | {"environment": transaction.environment}
    oldest = (await transaction.connection.execute(OLDEST_OTHER, same)).mappings().first()
    if oldest is None or row["category_guessed"]:
        return
    newer = max(row, oldest, key=itemgetter("connected_at", "id"))
    if newer["duplicate_told_at"] is None:
        # An integration's events are numbered while it is locked.
        await transaction.lock(newer["integration_id"])
        mark = update(integrations).where(integrations.c.id == newer["id"])
        await transaction.connection.execute(mark.values(duplicate_told_at=transaction.now))
        await _write_event(transaction, "integration.duplicate", newer, await _duplicates(transaction, newer))


async def _duplicates(transaction: Transaction, newer: RowMapping) -> dict[str, object]:
    place = tuple_(newer["connected_at"], newer["id"])
    equal = _equal(transaction, newer).where(tuple_(*OLDEST_FIRST) <= place)
    count = equal.with_only_columns(func.count())
    oldest = equal.order_by(*OLDEST_FIRST).limit(DUPLICATES_NAMED)
    named = list((await transaction.connection.execute(oldest)).mappings())
    return {
        "integration_ids": [one["integration_id"] for one in named],
        "public_ids": [one["public_id"] for one in named],
        "count": (await transaction.connection.execute(count)).scalar_one(),
    }


def _equal(transaction: Transaction, row: RowMapping) -> Any:  # noqa: ANN401 - as `_not_deleted`
    same = [integrations.c[name] == row[name] for name in SAME]
    return _not_deleted(transaction, *same, integrations.c.category_guessed.is_(False))


async def _insert(transaction: Transaction, integration_id: str, **values: object) -> RowMapping:
    columns = {
        "environment": transaction.environment,
        "integration_id": integration_id,
        "public_id": secrets.token_urlsafe(PUBLIC_ID_BYTES),
        "connected_at": transaction.now,
        "updated_at": transaction.now,
        **values,
    }
    row = (await transaction.connection.execute(INSERT, columns)).mappings().one()
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
    transaction: Transaction, event_type: str, row: RowMapping, data: dict[str, object] | None = None
) -> Integration:
    integration = from_row(row)
    await write_event(
        transaction, event_type, origin_id=integration.origin_id, integration=integration, data=data or {}
    )
    return integration


async def _find_one(transaction: Transaction, *conditions: ColumnElement[bool]) -> Integration | None:
    query = _not_deleted(transaction, *conditions)
    row = (await transaction.connection.execute(query)).mappings().one_or_none()
    return None if row is None else from_row(row)


def _not_deleted(transaction: Transaction, *conditions: ColumnElement[bool]) -> Any:  # noqa: ANN401 - Select is generic over its row
    return select(integrations).where(
        integrations.c.environment == transaction.environment,
        integrations.c.deleted_at.is_(None),
        *conditions,
    )


def _first_values(
    reported: Integration | ReportedIntegration, *, origin_id: str | None, source: Source
) -> merge.Values:
    names = ("tool", "category", "organization_name", "email", "setup_status")
    values = {name: getattr(reported, name) for name in names}
    return values | {"origin_id": origin_id, "learnt_by": source}
