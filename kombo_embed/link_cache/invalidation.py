"""Applies to the link cache the invalidations in the database, those of other processes included.

Each transaction that invalidates links writes a row. Every process reads new rows after its own transactions
and once a second. So neither a crash between the transaction and the cache, nor another worker, misses one.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from kombo_embed.errors import StoreUnavailable
from kombo_embed.ports import Clock, Invalidation, LinkCache, RecordStore

logger = logging.getLogger("kombo_embed.link_cache")

POLL_SECONDS = 1.0
REREAD_SECONDS = 60.0  # on PostgreSQL, a row may be committed after rows with greater ids
POLLS_PER_PRUNE = 600
RETENTION_MARGIN = timedelta(minutes=10)  # that rows outlive links, as clocks differ


class InvalidationPoller:
    """Applies invalidations until `aclose`. `start` it while the cache is empty.

    Args:
        store: The records, invalidations included.
        cache: The link cache.
        environment: The Kombo environment.
        lifetime_seconds: How long links live.
        clock: The source of time.
    """

    def __init__(
        self,
        store: RecordStore,
        cache: LinkCache,
        *,
        environment: str,
        lifetime_seconds: float,
        clock: Clock,
    ) -> None:
        self._store = store
        self.cache = cache
        self._environment = environment
        self._retention = timedelta(seconds=lifetime_seconds) + RETENTION_MARGIN
        self._clock = clock
        self._lock = asyncio.Lock()
        self._applied: dict[str, int] = {}  # invalidation id -> row id, for the rows that are read again
        self._floor = 0  # rows up to this id are not read again
        self._highest: deque[tuple[float, int]] = deque()  # (when read, greatest row id so far)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start polling. Earlier invalidations concern no link in the empty cache.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        rows = await self._store.find_invalidations(after=0)
        self._applied = {row.invalidation_id: row.row_id for row in rows}
        self._raise_floor(rows)
        self._task = asyncio.get_running_loop().create_task(self._run(), name="kombo-embed invalidations")

    async def aclose(self) -> None:
        """Stop polling."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def apply(self, origin_id: str) -> None:
        """Apply an invalidation that a transaction of this process wrote, and all others so far."""
        try:
            await self.poll()
        except StoreUnavailable:
            await self.cache.invalidate(self._environment, Invalidation(0, secrets.token_hex(16), origin_id))

    async def poll(self) -> None:
        """Apply the invalidations since the last poll.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        async with self._lock:
            rows = await self._store.find_invalidations(after=self._floor)
            for row in rows:
                if row.invalidation_id not in self._applied:
                    await self.cache.invalidate(self._environment, row)
                    self._applied[row.invalidation_id] = row.row_id
            self._raise_floor(rows)

    def _raise_floor(self, rows: Sequence[Invalidation]) -> None:
        now = self._clock.monotonic()
        if rows and (not self._highest or rows[-1].row_id > self._highest[-1][1]):
            self._highest.append((now, rows[-1].row_id))
        while self._highest and self._highest[0][0] <= now - REREAD_SECONDS:
            self._floor = self._highest.popleft()[1]
            self._applied = {key: row_id for key, row_id in self._applied.items() if row_id > self._floor}

    async def _run(self) -> None:
        polls = 0
        while True:
            await asyncio.sleep(POLL_SECONDS)
            polls += 1
            try:
                await self.poll()
                if polls % POLLS_PER_PRUNE == 0:
                    await self._prune()
            except StoreUnavailable:
                pass  # the store has logged it
            except Exception:
                # Without this loop, invalidations of other processes would not be applied any more.
                logger.exception("invalidations.failed")

    async def _prune(self) -> None:
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        await self._store.prune_invalidations(before=now - self._retention)
