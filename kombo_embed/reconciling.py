"""Re-reads every known integration from Kombo: what webhooks that were lost would have told.

Kombo recommends a periodic full read beside webhooks (docs.kombo.dev/ats/guides/data-changed-migration). It
lists no integrations, so those that are not known here are not found by it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from kombo_embed.errors import (
    IntegrationNotFound,
    KomboError,
    KomboRateLimited,
    KomboRejected,
    KomboUnavailable,
)
from kombo_embed.kombo import failures
from kombo_embed.kombo.client import KomboClient
from kombo_embed.models import ALL_NOT_FOUND, Integration, Reconciliation
from kombo_embed.ports import Clock, Store
from kombo_embed.reports import IntegrationDetails

logger = logging.getLogger("kombo_embed.reconciling")

CONCURRENCY = 4  # questions to Kombo at a time
PAGE = 200  # integrations read at a time
PATIENCE = 300.0  # seconds in all that Kombo may say "wait" before it is waited for no more
WAIT_MAX = 60.0  # seconds of one wait
TRIES = 3  # of one integration that Kombo fails to tell of
PAUSE = 1.0  # seconds between them

Sleep = Callable[[float], Awaitable[None]]


@dataclass
class _Counts:
    checked: int = 0
    found: int = 0
    updated: int = 0
    gone: list[Integration] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


class Reconciler:
    """Compares the records with Kombo, once.

    Args:
        client: Calls Kombo.
        store: Whose records.
        clock: Where time comes from.
        wake_hooks: Called when there may be something to tell the host.
        sleep: Waits, as long as Kombo asks for.
    """

    def __init__(
        self,
        client: KomboClient,
        store: Store,
        *,
        clock: Clock,
        wake_hooks: Callable[[], None],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._client = client
        self._store = store
        self._clock = clock
        self._wake_hooks = wake_hooks
        self._sleep = sleep
        self._waited = 0.0
        self._waiting_until = clock.monotonic()

    async def run(
        self, on_progress: Callable[[int], None] | None = None, *, delete_all_unknown: bool = False
    ) -> Reconciliation:
        """Read every integration that is not deleted. States that change meanwhile are left alone.

        Args:
            on_progress: Told how many were read so far.
            delete_all_unknown: Believe Kombo also where it knows none of all integrations.

        Raises:
            StoreUnavailable: The database cannot be used; what was read until then was taken over.
        """
        counts = _Counts()
        known = self._known()
        turn = asyncio.Lock()

        async def work() -> None:
            while (integration := await _next(known, turn)) is not None:
                await self._check(integration, counts)
                counts.checked += 1
                if on_progress is not None:
                    on_progress(counts.checked)

        workers = [asyncio.create_task(work()) for _ in range(CONCURRENCY)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self._wake_hooks()
        deleted = await self._delete(counts, delete_all_unknown=delete_all_unknown)
        self._wake_hooks()
        return Reconciliation(
            checked=counts.checked, updated=counts.updated, deleted=deleted, failed=counts.failed
        )

    async def _known(self) -> AsyncIterator[Integration]:
        after = ""
        while page := await self._store.find_known(after=after, limit=PAGE):
            for integration in page:
                yield integration
            after = page[-1].integration_id

    async def _check(self, integration: Integration, counts: _Counts) -> None:
        try:
            details = await self._patiently(integration.integration_id)
        except KomboRejected as error:
            if error.kombo_code == failures.NOT_FOUND:
                counts.gone.append(integration)
            else:
                counts.failed[integration.integration_id] = error.kombo_code or error.code
            return
        except (KomboError, IntegrationNotFound) as error:
            counts.failed[integration.integration_id] = error.code
            return
        counts.found += 1
        changed = await self._store.save_details(details, states_unless_changed_since=integration.updated_at)
        counts.updated += changed is not None

    async def _patiently(self, integration_id: str) -> IntegrationDetails:
        failures_of_it = 0
        while True:
            try:
                return await self._client.integration_details(integration_id)
            except (KomboRateLimited, KomboUnavailable) as error:
                if isinstance(error, KomboUnavailable) and error.tried and not error.told:
                    failures_of_it += 1
                    if failures_of_it == TRIES:
                        raise
                    await self._sleep(PAUSE)
                    continue
                wait = min(float(error.retry_after), WAIT_MAX)
                if not self._may_wait(wait):
                    raise
                await self._sleep(wait)

    def _may_wait(self, wait: float) -> bool:
        """Whether patience lasts; what several wait at the same time counts once."""
        now = self._clock.monotonic()
        until = max(self._waiting_until, now + wait)
        self._waited += until - max(self._waiting_until, now)
        self._waiting_until = until
        return self._waited <= PATIENCE

    async def _delete(self, counts: _Counts, *, delete_all_unknown: bool) -> int:
        """Deleting is for ever, so Kombo is not believed when it knows nothing of anything."""
        if counts.gone and not counts.found and not delete_all_unknown:
            logger.error(
                "reconcile.refused: Kombo knows none of %s integrations, so none was marked as deleted; "
                "is KOMBO_API_KEY that of KOMBO_ENVIRONMENT? If they really are gone: delete_all_unknown",
                len(counts.gone),
            )
            counts.failed.update({integration.integration_id: ALL_NOT_FOUND for integration in counts.gone})
            return 0
        for integration in counts.gone:
            await self._store.save_deleted(integration, unless_changed_since=integration.updated_at)
        return len(counts.gone)


async def _next(known: AsyncIterator[Integration], turn: asyncio.Lock) -> Integration | None:
    async with turn:
        return await anext(known, None)
