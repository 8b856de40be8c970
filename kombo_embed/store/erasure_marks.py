"""Whether a report may be recorded: not if it is about a customer, or an integration, that was erased.

A transaction that may record personal data locks the marks before it looks at them, and an erasure waits for
all such transactions when it writes its marks. So what it deletes afterwards does not come back.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Table, and_, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from kombo_embed.models import is_origin_id
from kombo_embed.store.tables import erased_integrations, erased_origins, erasure_keys, integrations
from kombo_embed.store.transaction import Transaction

LOCK = "erasures"
ORIGIN = "origin id"  # the lock of an origin id has its name after this
KEY_BYTES = 32
# Built once, since it is executed for each report.
FIND_KEY = select(erasure_keys.c.digest_key).where(erasure_keys.c.environment == bindparam("environment"))


async def lock(transaction: Transaction, integration_id: str | None, *, origin_id: str | None = None) -> None:
    """Lock the marks against changes, an integration and its origin id, until the transaction ends."""
    others = [(integration_id,)] if integration_id is not None else []
    await transaction.lock_shared(LOCK, *others, *([(ORIGIN, origin_id)] if origin_id is not None else []))


async def find_key(transaction: Transaction) -> bytes | None:
    """Return the key of the digests; None if nothing was ever erased."""
    found = await transaction.connection.execute(FIND_KEY, {"environment": transaction.environment})
    key: bytes | None = found.scalar_one_or_none()
    return key


async def make_key(transaction: Transaction) -> bytes:
    """Return the key of the digests, and make one for the first erasure."""
    new = secrets.token_bytes(KEY_BYTES)
    await transaction.insert_once(erasure_keys, environment=transaction.environment, digest_key=new)
    return await find_key(transaction) or new


def digest(key: bytes, *names: str) -> str:
    """Return a keyed digest of an origin id, or of another name of an erased customer."""
    text = "".join(f"{len(name)}:{name}" for name in names)
    return hmac.digest(key, text.encode(), "sha256").hex()


async def admits(
    transaction: Transaction,
    integration_id: str | None,
    *,
    origin_id: str | None,
    created_at: datetime | None = None,
) -> bool:
    """Return whether a report may be recorded; lock the marks until the transaction ends.

    It may not be about an erased integration. About an erased origin id it may be if the integration was
    recorded under it since, or if Kombo created it later: that is ``created_at``.
    """
    await lock(transaction, integration_id, origin_id=origin_id)
    key = await find_key(transaction)
    if key is None:
        return True
    if integration_id is not None and await _is_erased(transaction, integration_id):
        return False
    if origin_id is None or not is_origin_id(origin_id):
        return True
    erased_at = await find_erased_at(transaction, key, origin_id)
    if erased_at is None or (created_at is not None and created_at > erased_at):
        return True
    return integration_id is not None and await _is_recorded(transaction, integration_id, origin_id)


async def mark_origin(transaction: Transaction, origin_digest: str) -> None:
    """Mark an origin id as erased now, also if it was before."""
    await _upsert(
        transaction,
        erased_origins,
        [{"environment": transaction.environment, "origin_digest": origin_digest}],
        {"erased_at": transaction.now},
    )


async def mark_integrations(
    transaction: Transaction, origin_digest: str, integration_ids: Sequence[str]
) -> None:
    """Mark integrations as erased, also those that were before."""
    ours = {"environment": transaction.environment}
    keys = [ours | {"integration_id": integration_id} for integration_id in integration_ids]
    changed = {"origin_digest": origin_digest, "erased_at": transaction.now}
    await _upsert(transaction, erased_integrations, keys, changed)


async def lift(transaction: Transaction, integration_id: str, *, origin_id: str) -> None:
    """Remove the marks of an origin id and of an integration of it: its end user connected it again."""
    await lock(transaction, integration_id, origin_id=origin_id)
    key = await find_key(transaction)
    if key is None:
        return
    origin_digest = digest(key, origin_id)
    for table, condition in (
        (erased_origins, erased_origins.c.origin_digest == origin_digest),
        (erased_integrations, erased_integrations.c.integration_id == integration_id),
    ):
        ours = table.c.environment == transaction.environment
        await transaction.connection.execute(delete(table).where(ours, condition))


async def find_erased_at(transaction: Transaction, key: bytes, origin_id: str) -> datetime | None:
    """Return when an origin id was erased; None if it was not, or the mark was lifted."""
    query = select(erased_origins.c.erased_at).where(
        erased_origins.c.environment == transaction.environment,
        erased_origins.c.origin_digest == digest(key, origin_id),
    )
    erased_at: datetime | None = (await transaction.connection.execute(query)).scalar_one_or_none()
    return erased_at


async def _is_erased(transaction: Transaction, integration_id: str) -> bool:
    query = select(erased_integrations.c.erased_at).where(
        erased_integrations.c.environment == transaction.environment,
        erased_integrations.c.integration_id == integration_id,
    )
    return (await transaction.connection.execute(query)).first() is not None


async def _is_recorded(transaction: Transaction, integration_id: str, origin_id: str) -> bool:
    columns = integrations.c
    ours = and_(columns.environment == transaction.environment, columns.origin_id == origin_id)
    query = select(columns.id).where(ours, columns.integration_id == integration_id)
    return (await transaction.connection.execute(query)).first() is not None


async def _upsert(
    transaction: Transaction, table: Table, keys: Sequence[dict[str, str]], changed: dict[str, Any]
) -> None:
    if not keys:
        return
    is_postgresql = transaction.connection.dialect.name == "postgresql"
    statement = (postgresql.insert if is_postgresql else sqlite.insert)(table)
    upsert = statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={name: statement.excluded[name] for name in changed},
    )
    await transaction.connection.execute(upsert, [key | changed for key in keys])
