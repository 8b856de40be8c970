"""Keeps the counts of the console current, in one process at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from kombo_embed.errors import StoreUnavailable
from kombo_embed.ports import DetailsQueue, RollupStore

logger = logging.getLogger("kombo_embed.core")

INTERVAL_SECONDS = 10.0
LEASE, LEASE_SECONDS = "rollups", 60.0
PAUSE_SECONDS = 0.2  # between folds of a backlog, so that others can use the database


class Counting:
    """Folds what changed into the counts, every ten seconds until `aclose`.

    ``take_rejections`` returns how many webhooks this process has rejected since the last call, by reason.
    """

    def __init__(
        self, rollups: RollupStore, leases: DetailsQueue, *, take_rejections: Callable[[], Mapping[str, int]]
    ) -> None:
        self._rollups = rollups
        self._leases = leases
        self._take_rejections = take_rejections
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the periodic work."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="kombo-embed counting")

    async def aclose(self) -> None:
        """Stop. Another process, or the next start, continues."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def run_once(self) -> None:
        """Fold what changed, unless another process does so, and add what this process rejected."""
        if rejections := self._take_rejections():
            await self._rollups.add("rejected", rejections)
        has_more = True
        while has_more:
            changes = await self._rollups.find_changes()
            if changes is None or not await self._leases.take_lease(LEASE, seconds=LEASE_SECONDS):
                return
            await self._rollups.fold(changes)
            has_more = changes.has_more
            await asyncio.sleep(PAUSE_SECONDS if has_more else 0)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            try:
                await self.run_once()
            except StoreUnavailable:
                pass  # the store has logged it
            except Exception:
                # The next run may succeed, whatever the cause.
                logger.exception("rollups.failed")
