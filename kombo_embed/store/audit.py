"""The audit trail: who did what for which customer, written in the transaction of the act."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, insert, select

from kombo_embed.store import tables
from kombo_embed.store.customer_rows import Customer
from kombo_embed.store.erasure_marks import find_key
from kombo_embed.store.lanes import AFTER_ALL
from kombo_embed.store.transaction import Transaction

COMMAND_LINE = "command line"  # the actor of commands: no person of a customer's
UNFINISHED = {"INCOMPLETE", "FINAL_SYNC_PENDING"}  # setup statuses
INSERT = insert(tables.audit)  # built once, since it is executed often


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act. ``actor`` is an end user's email, a user of the console, or ``command line``, if known."""

    id: int
    at: datetime
    action: str
    actor: str | None = field(repr=False)
    origin_id: str | None
    integration_id: str | None
    detail: dict[str, Any] | None = field(repr=False)


async def write(
    transaction: Transaction,
    action: str,
    *,
    origin_id: str | None,
    integration_id: str | None = None,
    event_id: str | None = None,
    actor: str | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Write an entry. Without ``actor``, it is that of the transaction."""
    values = {
        "environment": transaction.environment,
        "at": transaction.now,
        "actor": actor or transaction.actor,
        "action": action,
        "origin_id": origin_id,
        "integration_id": integration_id,
        "event_id": event_id,
        "detail": detail,
    }
    await transaction.connection.execute(INSERT, values)


async def write_about(
    transaction: Transaction, action: str, row: Mapping[Any, Any], *, actor: str | None = None
) -> None:
    """Write an entry about the integration in a row."""
    await write(
        transaction,
        action,
        origin_id=row["origin_id"],
        integration_id=row["integration_id"],
        actor=actor,
        detail={name: row[name] for name in ("tool", "category")},
    )


async def write_progress(transaction: Transaction, before: RowMapping, after: RowMapping) -> str | None:
    """Write that an integration was reconnected, or its setup finished, if this change says so.

    Kombo does not say who it was: return, as the actor, for whom the newest link for this was minted.
    """
    actor = None
    if before["status"] == "INVALID" and after["status"] == "ACTIVE":
        actor = await _find_recipient(transaction, after, purpose="relink")
        await write_about(transaction, "reconnected", after, actor=actor)
    if before["setup_status"] in UNFINISHED and after["setup_status"] == "COMPLETED":
        actor = await _find_recipient(transaction, after, purpose="setup")
        await write_about(transaction, "setup_finished", after, actor=actor)
    return actor


async def find(
    transaction: Transaction, *, origin_id: str | None, limit: int, before: int | None
) -> Sequence[AuditEntry]:
    """Return the newest entries, also those of a customer who was erased, which have a pseudonym now."""
    columns = tables.audit.c
    query = select(*(columns[name] for name in AuditEntry.__dataclass_fields__))
    first = AFTER_ALL if before is None else before
    query = query.where(columns.environment == transaction.environment, columns.id < first)
    if origin_id is not None:
        key = await find_key(transaction)
        names = [origin_id]
        if key is not None:
            names.append(Customer(transaction.environment, origin_id, key).pseudonym)
        query = query.where(columns.origin_id.in_(names))
    rows = await transaction.connection.execute(query.order_by(columns.id.desc()).limit(limit))
    return [AuditEntry(**row) for row in rows.mappings()]


async def _find_recipient(transaction: Transaction, row: RowMapping, *, purpose: str) -> str | None:
    columns = tables.minted_links.c
    query = select(columns.email).where(
        columns.environment == transaction.environment,
        columns.origin_id == row["origin_id"],
        columns.integration_id == row["integration_id"],
        columns.purpose == purpose,
    )
    newest = query.order_by(columns.id.desc()).limit(1)
    return (await transaction.connection.execute(newest)).scalar_one_or_none()
