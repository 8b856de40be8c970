"""When an integration's details are due to be read from Kombo; `kombo_embed.store.details` leases them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, update

from kombo_embed.store.tables import integrations
from kombo_embed.store.transaction import Transaction
from kombo_embed.upstream import IntegrationDetails

AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)  # due, whatever the machines' clocks say
FROM_DETAILS = ("category", "status", "setup_status", "tool_label")
UPDATE = update(integrations).where(integrations.c.id == bindparam("row_id"))


async def request(transaction: Transaction, row: Mapping[Any, Any], *, again: bool = False) -> None:
    """Make the details due if one of them is unknown, or ``again``, and they are not due already."""
    if row["details_due_at"] is None and (again or any(row[name] is None for name in FROM_DETAILS)):
        await _update(transaction, row, details_due_at=AT_ONCE)


async def save_read(transaction: Transaction, row: Mapping[Any, Any], details: IntegrationDetails) -> None:
    """Record that these details were read and merged into the row.

    If a status was not merged, because a webhook has reported another one meanwhile, the details are due
    again: either report may be the newer one.
    """
    differs = any(getattr(details, name) not in (None, row[name]) for name in ("status", "setup_status"))
    due_at = AT_ONCE if differs else None
    await _update(transaction, row, details_due_at=due_at, checked_at=transaction.now)


async def _update(transaction: Transaction, row: Mapping[Any, Any], **values: object) -> None:
    # The record itself does not change, nor does its `updated_at`.
    columns = {"row_id": row["id"], "details_attempts": 0, "details_not_found": 0, **values}
    await transaction.connection.execute(UPDATE, columns)
