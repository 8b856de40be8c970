"""Reconciliation: re-reads every recorded integration from Kombo, to repair what lost webhooks missed.

Kombo recommends a periodic full read beside webhooks (docs.kombo.dev/ats/guides/data-changed-migration).
Kombo cannot list integrations, so those that were never recorded are not found.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from kombo_embed import errors
from kombo_embed.core.records import RecordStore
from kombo_embed.integration import ALL_NOT_FOUND, Integration, Reconciliation
from kombo_embed.kombo import responses
from kombo_embed.kombo.client import KomboClient
from kombo_embed.ports import Clock
from kombo_embed.telemetry import NO_TELEMETRY, Telemetry
from kombo_embed.upstream import IntegrationDetails

logger = logging.getLogger("kombo_embed.core")

CONCURRENCY = 4  # calls to Kombo at a time
PAGE_SIZE = 200
TOTAL_WAIT_SECONDS = 300.0  # that Kombo may ask for in one run
MAX_WAIT_SECONDS = 60.0  # of one wait
ATTEMPTS = 3  # per integration while Kombo is unavailable
RETRY_SECONDS = 1.0

Sleep = Callable[[float], Awaitable[None]]
OnProgress = Callable[[int], None]


class Reconciler:
    """Compares the records with Kombo.

    ``wake_dispatcher`` is called when an event for the host may have been written.
    """

    def __init__(
        self,
        client: KomboClient,
        store: RecordStore,
        *,
        clock: Clock,
        wake_dispatcher: Callable[[], None],
        sleep: Sleep = asyncio.sleep,
        telemetry: Telemetry = NO_TELEMETRY,
    ) -> None:
        self._client = client
        self._store = store
        self._clock = clock
        self._wake_dispatcher = wake_dispatcher
        self._sleep = sleep
        self._telemetry = telemetry

    async def run(
        self, on_progress: OnProgress | None = None, *, delete_all_unknown: bool = False
    ) -> Reconciliation:
        """Read every integration that is not deleted; see `KomboEmbed.reconcile`."""
        run = _Run(self._client, self._store, Waits(self._clock, self._sleep), on_progress)
        with self._telemetry.operation("reconcile") as operation:
            try:
                await run.read_all()
                deleted = await run.delete_missing(delete_all_unknown=delete_all_unknown)
            finally:
                self._wake_dispatcher()
            counts = {"checked": run.checked, "updated": run.updated, "failed": len(run.failed)}
            operation.describe(counts | {"deleted": deleted})
        return Reconciliation(checked=run.checked, updated=run.updated, deleted=deleted, failed=run.failed)

    async def read_one(self, integration: Integration) -> bool:
        """Read one integration and record what changed; return False, changing nothing, if Kombo lacks it.

        Raises `KomboError` if Kombo cannot answer now.
        """
        try:
            details = await self._client.integration_details(integration.integration_id)
        except errors.KomboRejected as error:
            if error.kombo_code == responses.NOT_FOUND:
                return False
            raise
        await self._store.save_details(details, states_unless_changed_since=integration.updated_at)
        self._wake_dispatcher()
        return True


class Waits:
    """The waits that Kombo asks for, within one budget per run."""

    def __init__(self, clock: Clock, sleep: Sleep) -> None:
        self._clock = clock
        self._sleep = sleep
        self._waited_seconds = 0.0
        self._waiting_until = clock.monotonic()

    async def before_retry(
        self, error: errors.KomboRateLimited | errors.KomboUnavailable, attempts: int
    ) -> bool:
        """Wait before another attempt; return False if there should be none."""
        if isinstance(error, errors.KomboUnavailable) and error.sent and not error.has_retry_after:
            if attempts == ATTEMPTS:
                return False
            await self._sleep(RETRY_SECONDS)
            return True
        seconds = min(float(error.retry_after), MAX_WAIT_SECONDS)
        if not self._spend(seconds):
            return False
        await self._sleep(seconds)
        return True

    async def read_details(self, client: KomboClient, integration_id: str) -> IntegrationDetails:
        """Read an integration from Kombo, and again after each wait."""
        attempts = 0
        while True:
            try:
                return await client.integration_details(integration_id)
            except (errors.KomboRateLimited, errors.KomboUnavailable) as error:
                attempts += (
                    isinstance(error, errors.KomboUnavailable) and error.sent and not error.has_retry_after
                )
                if not await self.before_retry(error, attempts):
                    raise

    def _spend(self, seconds: float) -> bool:
        """Take a wait from the budget; concurrent waits count once."""
        now = self._clock.monotonic()
        until = max(self._waiting_until, now + seconds)
        self._waited_seconds += until - max(self._waiting_until, now)
        self._waiting_until = until
        return self._waited_seconds <= TOTAL_WAIT_SECONDS


@dataclass
class _Run:
    """One run, with its counts."""

    client: KomboClient
    store: RecordStore
    waits: Waits
    on_progress: OnProgress | None
    checked: int = 0
    recognized: int = 0
    updated: int = 0
    missing: list[Integration] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    async def read_all(self) -> None:
        integrations = self._integrations()
        next_one = asyncio.Lock()  # an async generator serves one caller at a time

        async def work() -> None:
            while True:
                async with next_one:
                    integration = await anext(integrations, None)
                if integration is None:
                    return
                await self._read(integration)
                self.checked += 1
                if self.on_progress is not None:
                    self.on_progress(self.checked)

        workers = [asyncio.create_task(work()) for _ in range(CONCURRENCY)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def delete_missing(self, *, delete_all_unknown: bool) -> int:
        """Mark as deleted what Kombo did not recognize; not if that is everything, unless that is wanted."""
        if self.missing and not self.recognized and not delete_all_unknown:
            # A key of another environment recognizes nothing, and a deletion is final.
            logger.error("reconcile.all_not_found", extra={"count": len(self.missing)})
            self.failed.update({integration.integration_id: ALL_NOT_FOUND for integration in self.missing})
            return 0
        for integration in self.missing:
            await self.store.save_deleted(integration, unless_changed_since=integration.updated_at)
        return len(self.missing)

    async def _integrations(self) -> AsyncIterator[Integration]:
        last_id = ""
        while page := await self.store.list_integrations_after(last_id, limit=PAGE_SIZE):
            for integration in page:
                yield integration
            last_id = page[-1].integration_id

    async def _read(self, integration: Integration) -> None:
        try:
            details = await self.waits.read_details(self.client, integration.integration_id)
        except errors.KomboRejected as error:
            if error.kombo_code == responses.NOT_FOUND:
                self.missing.append(integration)
            else:
                self.failed[integration.integration_id] = error.kombo_code or error.code
            return
        except (errors.KomboError, errors.IntegrationNotFound) as error:
            self.failed[integration.integration_id] = error.code
            return
        self.recognized += 1
        changed = await self.store.save_details(details, states_unless_changed_since=integration.updated_at)
        self.updated += changed is not None
