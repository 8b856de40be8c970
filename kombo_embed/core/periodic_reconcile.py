"""Reconciliation by itself: re-reads each integration from Kombo once per interval, the oldest check first.

One process at a time does so, under a lease that lasts as long as its next reads take at the rate. So the
rate holds over all processes, and none has to release anything. `kombo_embed.core.reconcile` is for people,
who want all integrations to be read now.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from kombo_embed.core.periodic_work import PeriodicWork
from kombo_embed.core.records import DetailsQueue, RecordStore
from kombo_embed.errors import KomboEmbedError, KomboRejected, StoreUnavailable
from kombo_embed.integration import Integration
from kombo_embed.kombo import responses
from kombo_embed.kombo.client import KomboClient
from kombo_embed.ports import Clock, utc_now
from kombo_embed.telemetry import NO_TELEMETRY, Telemetry

logger = logging.getLogger("kombo_embed.core")

FIRST_SECONDS = 60.0  # after the start, at most: a command ends before it
MIN_LOOK_SECONDS, MAX_LOOK_SECONDS = 30.0, 300.0  # between looks for integrations to check
LEASE = "reconcile"
MIN_LEASE_SECONDS = 30.0
BATCH_SECONDS, MAX_BATCH = 10.0, 100  # a batch has the reads of so many seconds
CONCURRENCY = 4
READS_COUNTED = 100
NOT_FOUND_MAX_SHARE = 0.05  # of these reads; with more of them, nothing is deleted
FAILURE_PAUSE_SECONDS = 300.0  # if of a whole batch nothing could be read
FAILED_MAX = 100  # integrations that are skipped until the others were read


@dataclass(frozen=True, slots=True)
class Pace:
    """How often each integration is read, and how many reads there are per second at most."""

    every: timedelta
    per_second: float


class PeriodicReconciler(PeriodicWork):
    """Reconciles until `aclose`. ``wake_dispatcher`` is called when an event may have been written."""

    name = "reconciliation"
    interval_seconds = 2.0

    def __init__(
        self,
        client: KomboClient,
        store: RecordStore,
        queue: DetailsQueue,
        *,
        pace: Pace,
        clock: Clock,
        wake_dispatcher: Callable[[], None],
        telemetry: Telemetry = NO_TELEMETRY,
    ) -> None:
        super().__init__()
        self._client, self._store, self._queue = client, store, queue
        self._every = pace.every
        self._per_second = pace.per_second
        self._clock = clock
        self._wake_dispatcher = wake_dispatcher
        self._telemetry = telemetry
        self._look_at = clock.monotonic() + min(FIRST_SECONDS, pace.every.total_seconds())
        self._batch_size = max(1, min(int(pace.per_second * BATCH_SECONDS), MAX_BATCH))
        self._not_found: deque[bool] = deque(maxlen=READS_COUNTED)
        self._missing: dict[str, Integration] = {}
        self._failed: set[str] = set()
        self._withholds = False

    async def run_once(self) -> None:
        """Reconcile what is due, if it is time to look."""
        while self._clock.monotonic() >= self._look_at and self._client.free_background_calls(1):
            self._look_at = self._clock.monotonic() + MIN_LOOK_SECONDS
            before = self._now() - self._every
            limit = self._batch_size + len(self._failed)
            checks = await self._queue.find_checks(before=before, limit=limit)
            batch = [one for one in checks.integrations if one.integration_id not in self._failed]
            if not batch:
                self._failed.clear()
                self._look_at = self._clock.monotonic() + self._seconds_until(checks.next_at)
            elif await self._queue.take_lease(LEASE, seconds=self._lease_seconds()):
                with self._telemetry.operation("reconcile") as operation:
                    await self._reconcile(batch[: self._batch_size])
                    operation.describe({"checked": min(len(batch), self._batch_size)})

    def log_failure(self, error: Exception) -> None:
        """Log an unexpected exception of a run."""
        logger.error("reconcile.failed", exc_info=error)

    async def _reconcile(self, batch: Sequence[Integration]) -> None:
        slots = asyncio.Semaphore(CONCURRENCY)
        counted = len(self._failed)
        async with asyncio.TaskGroup() as reads:
            for integration in batch:
                await slots.acquire()
                if not self._client.free_background_calls(1):
                    break
                reads.create_task(self._read(integration)).add_done_callback(lambda _: slots.release())
                await asyncio.sleep(1 / self._per_second)
        await self._delete_missing()
        self._wake_dispatcher()
        all_failed = len(self._failed) - counted >= len(batch)
        self._look_at = self._clock.monotonic() + (FAILURE_PAUSE_SECONDS if all_failed else 0)
        if len(self._failed) > FAILED_MAX:
            self._failed.clear()

    async def _read(self, integration: Integration) -> None:
        is_known = await self._update(integration)
        if is_known is None:
            self._failed.add(integration.integration_id)
            return
        self._not_found.append(not is_known)
        if is_known:
            self._missing.pop(integration.integration_id, None)
        else:
            self._missing[integration.integration_id] = integration
            if len(self._missing) > READS_COUNTED:
                del self._missing[next(iter(self._missing))]  # it is read again after the interval
            with suppress(StoreUnavailable):  # the store has logged it
                await self._queue.save_checked(integration)

    async def _update(self, integration: Integration) -> bool | None:
        """Record Kombo's details; return whether Kombo knows the integration, and None if it did not say."""
        try:
            details = await self._client.integration_details(integration.integration_id)
            await self._store.save_details(details, states_unless_changed_since=integration.updated_at)
        except KomboRejected as error:
            if error.kombo_code == responses.NOT_FOUND:
                return False
            _log_failure(integration, error)
            return None
        except KomboEmbedError as error:
            _log_failure(integration, error)
            return None
        return True

    async def _delete_missing(self) -> None:
        """Mark as deleted what Kombo does not know, unless that is too much to be true."""
        share = sum(self._not_found) / max(1, len(self._not_found))
        withholds = bool(self._missing) and share > NOT_FOUND_MAX_SHARE
        if withholds and not self._withholds:
            extra = {"count": len(self._missing), "share": round(share, 2)}
            logger.error("reconcile.deletions_withheld", extra=extra)
        self._withholds = withholds
        if withholds:
            return
        missing, self._missing = self._missing, {}
        for integration in missing.values():
            # Read again: the first answer may be of a time when the API key was of another environment.
            if await self._update(integration) is False:
                await self._store.save_deleted(integration, unless_changed_since=integration.updated_at)

    def _lease_seconds(self) -> float:
        return max(MIN_LEASE_SECONDS, 2 * self._batch_size / self._per_second)

    def _seconds_until(self, moment: datetime | None) -> float:
        """Return when to look again if this check is the next one due."""
        if moment is None:
            return MAX_LOOK_SECONDS
        seconds = (moment + self._every - self._now()).total_seconds()
        return max(MIN_LOOK_SECONDS, min(seconds, MAX_LOOK_SECONDS))

    def _now(self) -> datetime:
        return utc_now(self._clock)


def _log_failure(integration: Integration, error: KomboEmbedError) -> None:
    fields = {"integration_id": integration.integration_id, "error_code": error.code}
    logger.info("reconcile.unreadable", extra=fields)
