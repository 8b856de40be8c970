"""The audit trail: who did what for which customer, written in the transaction of the act."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select

from kombo_embed.store import tables
from kombo_embed.store.customer_rows import Customer
from kombo_embed.store.erasure_marks import find_key
from kombo_embed.store.transaction import Transaction

COMMAND_LINE = "command line"  # the actor of commands: no person of a customer's
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
        "detail": detail,
    }
    await transaction.connection.execute(INSERT, values)


async def find(
    transaction: Transaction, *, origin_id: str | None, limit: int, before: int | None
) -> Sequence[AuditEntry]:
    """Return the newest entries, also those of a customer who was erased, which have a pseudonym now."""
    columns = tables.audit.c
    query = select(*(columns[name] for name in AuditEntry.__dataclass_fields__))
    query = query.where(columns.environment == transaction.environment)
    if origin_id is not None:
        key = await find_key(transaction)
        names = [origin_id]
        if key is not None:
            names.append(Customer(transaction.environment, origin_id, key).pseudonym)
        query = query.where(columns.origin_id.in_(names))
    if before is not None:
        query = query.where(columns.id < before)
    rows = await transaction.connection.execute(query.order_by(columns.id.desc()).limit(limit))
    return [AuditEntry(**row) for row in rows.mappings()]
