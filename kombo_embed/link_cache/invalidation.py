"""Tells the link cache which links ended, also those that another process ended.

Whatever ends links writes so in its transaction; every process reads it after its own transactions, and looks
every second for those of others. So no crash between a record and its drop, and no worker, is left out.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from datetime import UTC, datetime, timedelta

from kombo_embed.errors import StoreUnavailable
from kombo_embed.ports import Clock, Invalidation, LinkCache, RecordStore

logger = logging.getLogger("kombo_embed.links")

POLL = 1.0  # seconds between looks for what other processes ended
REREAD = 60.0  # seconds for which ids are read again: on PostgreSQL a smaller one may be committed later
PRUNE_EVERY = 600  # looks
SLACK = timedelta(minutes=10)  # for which drops are kept longer than links live: clocks differ


class InvalidationPoller:
    """Applies the drops in the store to a cache until `aclose`. Start it while the cache is empty.

    Args:
        store: Where drops are written.
        cache: What to tell.
        environment: Whose links.
        lifetime: Seconds that links live.
        clock: Where time comes from.
    """

    def __init__(
        self, store: RecordStore, cache: LinkCache, *, environment: str, lifetime: float, clock: Clock
    ) -> None:
        self._store = store
        self._cache = cache
        self._environment = environment
        self._lifetime = timedelta(seconds=lifetime)
        self._clock = clock
        self._looking = asyncio.Lock()
        self._applied: dict[str, int] = {}  # drop id -> row id, of those that are read again
        self._floor = 0  # the row id that nothing is read below of
        self._highest: deque[tuple[float, int]] = deque()  # when which row id was the highest
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to watch. What ended before concerns no link in the cache.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        self._note(await self._store.find_invalidations(after=0))
        self._task = asyncio.get_running_loop().create_task(self._watch(), name="kombo-embed drops")

    async def aclose(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def apply(self, origin_id: str) -> None:
        """Apply what a transaction of this process has just ended for this origin id, and what others did."""
        try:
            await self.look()
        except StoreUnavailable:
            await self._cache.invalidate(self._environment, Invalidation(0, secrets.token_hex(16), origin_id))

    async def look(self) -> None:
        """Apply what was ended since the last look.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        async with self._looking:
            for invalidation in self._note(await self._store.find_invalidations(after=self._floor)):
                await self._cache.invalidate(self._environment, invalidation)

    def _note(self, found: list[Invalidation]) -> list[Invalidation]:
        """Those of the drops that were not seen before."""
        new = [invalidation for invalidation in found if invalidation.invalidation_id not in self._applied]
        self._applied.update((invalidation.invalidation_id, invalidation.row_id) for invalidation in new)
        now = self._clock.monotonic()
        if found and (not self._highest or found[-1].row_id > self._highest[-1][1]):
            self._highest.append((now, found[-1].row_id))
        while self._highest and self._highest[0][0] <= now - REREAD:
            self._floor = self._highest.popleft()[1]
            self._applied = {one: row_id for one, row_id in self._applied.items() if row_id > self._floor}
        return new

    async def _watch(self) -> None:
        looks = 0
        while True:
            await asyncio.sleep(POLL)
            looks += 1
            try:
                await self.look()
                if looks % PRUNE_EVERY == 0:
                    await self._prune()
            except StoreUnavailable:
                continue  # said in the log by the store already
            except Exception:
                # This loop is all that hears of other processes: whatever it was, it looks again.
                logger.exception("drops.failed: the drops of links could not be read")

    async def _prune(self) -> None:
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        await self._store.prune_invalidations(before=now - self._lifetime - SLACK)
