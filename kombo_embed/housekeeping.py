"""What falls due by itself: telling of links that led to nothing, and forgetting what is old."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from kombo_embed.errors import StoreUnavailable
from kombo_embed.ports import Clock, Store

logger = logging.getLogger("kombo_embed.housekeeping")

LOOK = 2.0  # seconds between looks for links that ended
LINKS_AT_A_TIME = 100
PRUNE_FIRST = 600.0  # seconds after the start: handlers of what waited meanwhile come first
PRUNE = 3600.0  # seconds between prunings
ROWS_AT_A_TIME = 500  # of each kind in one transaction: others want to write, too


class Housekeeping:
    """Keeps the store in order until `aclose`. Several processes may do so on one database.

    Args:
        store: What is kept in order.
        retention: How long what is done with is kept.
        clock: Where time comes from.
        wake_hooks: Called when there is something to tell the host.
    """

    def __init__(
        self, store: Store, *, retention: timedelta, clock: Clock, wake_hooks: Callable[[], None]
    ) -> None:
        self._store = store
        self._retention = retention
        self._clock = clock
        self._wake_hooks = wake_hooks
        self._prune_at = clock.monotonic() + PRUNE_FIRST
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._loop = asyncio.get_running_loop().create_task(self._run(), name="kombo-embed housekeeping")

    async def aclose(self) -> None:
        """Stop."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    async def look(self) -> None:
        """Do all that is due now.

        Raises:
            StoreUnavailable: The database cannot be used; what is left is done by the next look.
        """
        while abandoned := await self._store.settle_ended_links(limit=LINKS_AT_A_TIME):
            logger.info("flows.abandoned: %s", abandoned)
            self._wake_hooks()
        if self._clock.monotonic() >= self._prune_at:
            self._prune_at = self._clock.monotonic() + PRUNE
            await self._prune()

    async def _prune(self) -> None:
        before = datetime.fromtimestamp(self._clock.time(), UTC) - self._retention
        pruned = 0
        while removed := await self._store.prune(before=before, limit=ROWS_AT_A_TIME):
            pruned += removed
        if pruned:
            logger.info("records.pruned: %s rows older than %s", pruned, self._retention)

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except StoreUnavailable:
                pass  # said in the log by the store already
            except Exception:
                # Whatever it was, the next look may go well.
                logger.exception("housekeeping.failed")
            await asyncio.sleep(LOOK)
