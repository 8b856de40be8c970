"""Completed flows: which integration each activation token was exchanged for."""

from __future__ import annotations

import hashlib

from sqlalchemy import select

from kombo_embed.integration import Completion, Integration
from kombo_embed.store import erasure_marks, integrations, queries
from kombo_embed.store.tables import completions
from kombo_embed.store.transaction import Transaction
from kombo_embed.upstream import ReportedIntegration


async def save(
    transaction: Transaction,
    reported: ReportedIntegration,
    *,
    activation_token: str,
    origin_id: str,
    by_owner: bool,
) -> Completion | None:
    """Record an integration under this origin id, once; None if it was deleted or erased before."""
    if by_owner:  # the customer's own end user, who starts anew after an erasure
        await erasure_marks.lift(transaction, reported.integration_id, origin_id=origin_id)
    elif not await erasure_marks.admits(transaction, reported.integration_id, origin_id=origin_id):
        return None
    completion = await integrations.save(transaction, reported, origin_id=origin_id, source="browser")
    is_first = await transaction.insert_once(
        completions,
        environment=transaction.environment,
        activation_token_sha256=_hash(activation_token),
        integration_id=reported.integration_id,
        completed_at=transaction.now,
    )
    if completion is not None and is_first:
        transaction.invalidate(origin_id)
    return completion


async def find(transaction: Transaction, activation_token: str) -> Integration | None:
    """Return the integration that this activation token was exchanged for earlier."""
    query = select(completions.c.integration_id).where(
        completions.c.environment == transaction.environment,
        completions.c.activation_token_sha256 == _hash(activation_token),
    )
    integration_id = (await transaction.connection.execute(query)).scalar_one_or_none()
    return None if integration_id is None else await queries.find(transaction, integration_id)


def _hash(activation_token: str) -> str:
    return hashlib.sha256(activation_token.encode()).hexdigest()
