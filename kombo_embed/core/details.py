"""Details: fetches from Kombo what the reports of new integrations lack, until it is known.

A token exchange and a webhook name no status, no label and no logo. That the details are due is recorded with
the integration, in the same transaction, so they are fetched after a crash, too, by any process.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus

from kombo_embed.core.periodic_work import PeriodicWork
from kombo_embed.core.records import DetailsQueue, RecordStore
from kombo_embed.errors import IntegrationNotFound, KomboEmbedError, KomboRejected, StoreUnavailable
from kombo_embed.integration import DETAILS_NOT_FOUND_MAX
from kombo_embed.kombo import responses
from kombo_embed.kombo.client import KomboClient
from kombo_embed.ports import Clock, DetailsJob

logger = logging.getLogger("kombo_embed.core")

LOOK_SECONDS = 30.0  # between looks for details that other processes have made due
CONCURRENCY = 4
PER_SECOND = 10.0  # calls to Kombo by this process
LEASE_SECONDS = 20.0  # at least; a call ends before it
LEASE_MARGIN_SECONDS = 5.0
MAX_BACKOFF_SECONDS = 30.0
ATTEMPTS_IN_FIRST_HOUR = 124  # after 1, 2, 4, 8 and 16 seconds, then every 30
LATE_BACKOFF_SECONDS = 900.0


class DetailsReader(PeriodicWork):
    """Reads due details until `aclose`. Several processes may do so on one database.

    ``timeout_seconds`` limits a call to Kombo. ``wake_dispatcher`` is called when an event for the host may
    have been written.
    """

    name = "details"
    interval_seconds = 1.0

    def __init__(
        self,
        client: KomboClient,
        store: RecordStore,
        queue: DetailsQueue,
        *,
        timeout_seconds: float,
        clock: Clock,
        wake_dispatcher: Callable[[], None],
    ) -> None:
        super().__init__()
        self._client = client
        self._store = store
        self._queue = queue
        self._lease_seconds = max(LEASE_SECONDS, timeout_seconds + LEASE_MARGIN_SECONDS)
        self._clock = clock
        self._wake_dispatcher = wake_dispatcher
        self._look_at = -math.inf
        self._woken = asyncio.Event()
        self._reads: set[asyncio.Task[None]] = set()
        self._begun = 0  # reads, by the last run

    async def aclose(self) -> None:
        """Stop. What is not read yet is read after the next start, or by another process."""
        await super().aclose()
        for read in self._reads:
            read.cancel()
        await asyncio.gather(*self._reads, return_exceptions=True)

    def wake(self) -> None:
        """Look at once: this process has recorded an integration whose details may be due."""
        self._look_at = -math.inf
        self._woken.set()

    async def run_once(self) -> None:
        """Begin to read what is due, if it is time to look."""
        self._begun = 0
        now = self._clock.monotonic()
        free = self._client.free_background_calls(CONCURRENCY) - len(self._reads)
        if now < self._look_at or free <= 0:
            return
        self._look_at = now + LOOK_SECONDS  # before the database is asked: `wake` may precede its answer
        due = await self._queue.take(limit=free, lease_seconds=self._lease_seconds)
        if due.next_in_seconds is not None:
            self._look_at = min(self._look_at, now + due.next_in_seconds)
        for job in due.jobs:
            read = asyncio.get_running_loop().create_task(self._read(job))
            self._reads.add(read)
            read.add_done_callback(self._read_ended)
        self._begun = len(due.jobs)

    def log_failure(self, error: Exception) -> None:
        """Log an unexpected exception of a run."""
        logger.error("details.failed", exc_info=error)

    async def pause(self) -> None:
        """Wait until a read has ended or details may have become due, and as long as the rate demands."""
        await asyncio.sleep(self._begun / PER_SECOND)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.interval_seconds):
                await self._woken.wait()
        self._woken.clear()

    async def read_due(self) -> bool:
        """Begin to read what is due now; return whether reads run."""
        self._look_at = -math.inf
        await self.run_once()
        return bool(self._reads)

    async def _read(self, job: DetailsJob) -> None:
        integration = job.integration
        try:
            details = await self._client.integration_details(integration.integration_id)
            changed = await self._store.save_details(
                details, states_unless_changed_since=integration.updated_at
            )
        except StoreUnavailable:
            return  # the store has logged it; the details are read again when the lease has ended
        except KomboEmbedError as error:
            with suppress(StoreUnavailable):
                await self._postpone(job, error)
            return
        if changed is not None:
            self._wake_dispatcher()

    async def _postpone(self, job: DetailsJob, error: KomboEmbedError) -> None:
        fields = {"integration_id": job.integration.integration_id, "error_code": error.code}
        logger.info("details.unavailable", extra=fields)
        not_found = job.not_found + _is_not_found(error)
        if not_found >= DETAILS_NOT_FOUND_MAX:
            await self._queue.postpone(job, seconds=None, not_found=not_found)
            extra = {"integration_id": job.integration.integration_id, "count": not_found}
            logger.warning("details.not_found", extra=extra)
            return
        seconds = backoff_seconds(job.attempts)
        await self._queue.postpone(job, seconds=seconds, not_found=not_found)
        self._look_at = min(self._look_at, self._clock.monotonic() + seconds)

    def _read_ended(self, read: asyncio.Task[None]) -> None:
        self._reads.discard(read)
        self._woken.set()
        if not read.cancelled() and (error := read.exception()) is not None:
            logger.error("details.failed", exc_info=error)


def backoff_seconds(attempts: int) -> float:
    """Return after how long to repeat a read that failed so many times."""
    if attempts > ATTEMPTS_IN_FIRST_HOUR:
        return LATE_BACKOFF_SECONDS
    return min(2.0 ** (attempts - 1), MAX_BACKOFF_SECONDS)


def _is_not_found(error: KomboEmbedError) -> bool:
    if isinstance(error, KomboRejected):
        is_plain = error.kombo_code is None and error.status == HTTPStatus.NOT_FOUND
        return is_plain or error.kombo_code == responses.NOT_FOUND
    return isinstance(error, IntegrationNotFound)  # an id that Kombo cannot have: nothing was sent
