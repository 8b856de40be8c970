"""Erasing a customer: every personal datum in the database, in short batches, and the links in the caches."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping

from kombo_embed import errors
from kombo_embed.core.records import ErasureStore
from kombo_embed.integration import Erasure
from kombo_embed.kombo import responses
from kombo_embed.kombo.client import KomboClient
from kombo_embed.ports import Clock, ErasurePosition

logger = logging.getLogger("kombo_embed.core")

ROWS_PER_BATCH = 500  # in one transaction, so that other writers wait only briefly
# Every process applies invalidations within 2 s. Theirs is the last row that names the customer.
INVALIDATION_SECONDS = 3.0


class Eraser:
    """Erases customers. An erasure that was interrupted continues when it is called again."""

    def __init__(self, *, store: ErasureStore, client: KomboClient, clock: Clock) -> None:
        self._store = store
        self._client = client
        self._clock = clock

    async def erase(self, origin_id: str, *, at_kombo: bool = False, actor: str | None = None) -> Erasure:
        """Erase a customer; see `KomboEmbed.erase`. ``actor`` is who wants it, for the audit trail."""
        integration_ids = await self._store.begin(origin_id, actor=actor)
        applied_at = self._clock.monotonic() + INVALIDATION_SECONDS
        failed = await self._delete_at_kombo(integration_ids) if at_kombo else {}
        rows: Counter[str] = Counter()
        position: ErasurePosition | None = ErasurePosition()
        while position is not None:
            batch = await self._store.run_batch(origin_id, position, limit=ROWS_PER_BATCH)
            rows.update(batch.rows)
            position = batch.next
        await asyncio.sleep(max(0.0, applied_at - self._clock.monotonic()))
        rows.update(await self._store.finish(origin_id))
        logger.info("customer.erased", extra={"count": rows.total(), "failed_at_kombo": len(failed)})
        deleted = len(integration_ids) - len(failed) if at_kombo else 0
        return Erasure(rows=_sorted(rows), deleted_at_kombo=deleted, failed_at_kombo=failed)

    async def preview(self, origin_id: str) -> Erasure:
        """Count what `erase` would remove, and change nothing."""
        rows = Counter(await self._store.count(origin_id))
        position: ErasurePosition | None = ErasurePosition()
        while position is not None:
            batch = await self._store.count_in_bodies(origin_id, position, limit=ROWS_PER_BATCH)
            rows.update(batch.rows)
            position = batch.next
        return Erasure(rows=_sorted(rows), dry_run=True)

    async def _delete_at_kombo(self, integration_ids: Iterable[str]) -> dict[str, str]:
        """Delete integrations at Kombo; return those that failed. It may not know some any more."""
        failed = {}
        for integration_id in integration_ids:
            try:
                await self._client.delete_integration(integration_id)
            except errors.KomboError as error:
                code = getattr(error, "kombo_code", None) or error.code
                if code != responses.NOT_FOUND:
                    failed[integration_id] = code
        return failed


def _sorted(rows: Mapping[str, int]) -> dict[str, int]:
    return {name: number for name, number in sorted(rows.items()) if number}
