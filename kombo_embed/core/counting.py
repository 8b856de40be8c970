"""Keeps the counts of the console current, in one process at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from kombo_embed.core.periodic_work import PeriodicWork
from kombo_embed.core.records import DetailsQueue, RollupStore
from kombo_embed.ports import Clock

logger = logging.getLogger("kombo_embed.core")

INTERVAL_SECONDS = 10.0
PAUSE_PER_SECOND = 20.0  # after a run that took long, so that the counts cost a twentieth of the time at most
LEASE, LEASE_SECONDS = "rollups", 60.0
PAUSE_SECONDS = 0.2  # between folds of a backlog, so that others can use the database


class Counting(PeriodicWork):
    """Folds what changed into the counts, every ten seconds until `aclose`, or later if that takes long.

    ``take_rejections`` returns how many webhooks this process has rejected since the last call, by reason.
    """

    name = "counting"
    interval_seconds = INTERVAL_SECONDS

    def __init__(
        self,
        rollups: RollupStore,
        leases: DetailsQueue,
        *,
        take_rejections: Callable[[], Mapping[str, int]],
        clock: Clock,
    ) -> None:
        super().__init__()
        self._rollups = rollups
        self._leases = leases
        self._take_rejections = take_rejections
        self._clock = clock

    async def run_once(self) -> None:
        """Fold what changed, unless another process does so, and add what this process rejected."""
        if rejections := self._take_rejections():
            await self._rollups.add("rejected", rejections)
        began = self._clock.monotonic()
        try:
            await self._fold()
        finally:
            took_seconds = self._clock.monotonic() - began
            self.interval_seconds = max(INTERVAL_SECONDS, PAUSE_PER_SECOND * took_seconds)

    async def _fold(self) -> None:
        has_more = await self._rollups.has_changes()
        while has_more and await self._leases.take_lease(LEASE, seconds=LEASE_SECONDS):
            has_more = await self._rollups.fold()
            await asyncio.sleep(PAUSE_SECONDS if has_more else 0)

    def log_failure(self, error: Exception) -> None:
        """Log an unexpected exception of a run."""
        logger.error("rollups.failed", exc_info=error)

    async def _run(self) -> None:
        await self.pause()  # a start has other things to do
        await super()._run()
