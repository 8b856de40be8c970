"""Imported integrations; implements `kombo_embed.core.records.ImportStore`.

An import records what existed before. It calls no handler: the host knows these integrations already. Only a
duplicate is reported, as after every change.
"""

from __future__ import annotations

from sqlalchemy import RowMapping

from kombo_embed.ports import Clock
from kombo_embed.store import audit, erasure_marks, integrations, merge, queries
from kombo_embed.store.database import Database, read_only
from kombo_embed.store.erasures import Change
from kombo_embed.store.part import StorePart
from kombo_embed.store.transaction import Transaction
from kombo_embed.upstream import (
    DELETED,
    ERASED,
    OTHER_CUSTOMER,
    ImportLine,
    IntegrationDetails,
    Recorded,
    Refused,
)


class Imports(StorePart):
    """Records imported integrations of one environment. All methods raise `StoreUnavailable`."""

    def __init__(self, database: Database, *, environment: str, clock: Clock, change: Change) -> None:
        super().__init__(database, environment=environment, clock=clock)
        self._change = change

    async def save(self, line: ImportLine, details: IntegrationDetails, *, actor: str) -> Recorded:
        """Record an integration, or what is new about it, with an entry in the audit trail."""
        return await self._change(lambda transaction: _save(transaction, line, details), actor=actor)

    @read_only
    async def preview(self, line: ImportLine, details: IntegrationDetails) -> Recorded:
        """Return what `save` would do; change nothing."""
        async with self._reading() as transaction:
            row = await _admit(transaction, line, details)
            if row is None:
                return "imported"
            return "completed" if _additions(row, line, details) else "known"


async def _save(transaction: Transaction, line: ImportLine, details: IntegrationDetails) -> Recorded:
    row = await _admit(transaction, line, details)
    if row is None:
        row = await integrations.save_imported(
            transaction, details, _first_values(transaction, line, details)
        )
        await audit.write_about(transaction, "imported", row)
        transaction.invalidate(line.origin_id)
        return "imported"
    values = _additions(row, line, details)
    if not values:
        return "known"
    await integrations.save_changes(transaction, row, values)
    await audit.write_about(transaction, "imported", {**row, **values})
    transaction.invalidate(line.origin_id)
    return "completed"


async def _admit(
    transaction: Transaction, line: ImportLine, details: IntegrationDetails
) -> RowMapping | None:
    """Return the integration's row, None if it is new; raise `Refused` if it is not this customer's."""
    if not await erasure_marks.admits(
        transaction, line.integration_id, origin_id=line.origin_id, created_at=details.created_at
    ):
        raise Refused(ERASED)
    row = await queries.lock_row(transaction, line.integration_id)
    if row is None:
        return None
    if row["origin_id"] not in (None, line.origin_id):
        raise Refused(OTHER_CUSTOMER)
    if row["deleted_at"] is not None:
        raise Refused(DELETED)
    return row


def _first_values(transaction: Transaction, line: ImportLine, details: IntegrationDetails) -> merge.Values:
    began = line.connected_at or details.created_at or transaction.now
    return {
        "origin_id": line.origin_id,
        "organization_name": line.organization_name,
        "email": line.email,
        "connected_at": min(began, transaction.now),
        "learnt_by": "import",
    }


def _additions(row: RowMapping, line: ImportLine, details: IntegrationDetails) -> merge.Values:
    """Return what the line, or Kombo's details, have beyond a row that is known."""
    once = {"origin_id": line.origin_id, "organization_name": line.organization_name, "email": line.email}
    values = merge.details_changes(row, details, changed_meanwhile=True)
    return values | {name: value for name, value in once.items() if value is not None and row[name] is None}
