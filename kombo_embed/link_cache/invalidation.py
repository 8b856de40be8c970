"""Applies to the caches the invalidations in the database, those of other processes included.

Each transaction that invalidates links or lists writes a row. A process applies its own after the commit and
polls for those of others, from the position that it has reached. So neither a crash between the transaction
and a shared cache, nor another worker, misses one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from itertools import islice

from kombo_embed.errors import StoreUnavailable
from kombo_embed.ports import Clock, Invalidation, InvalidationLog, LinkCache, utc_now

logger = logging.getLogger("kombo_embed.link_cache")

POLL_SECONDS = 1.6
CURRENT_SECONDS = 2.0  # after a poll began: what was committed before it is known
ROWS_PER_READ = 1000
APPLIED_AT_ONCE = 100
REMEMBERED = 10_000  # applied invalidations, so that the next poll does not apply those of this process again
# On PostgreSQL, rows are committed in any order. A missing one is looked for until its transaction has ended.
MISSING_SECONDS = 600.0
MISSING_MAX = 10_000
LOOKED_FOR_AT_ONCE = 1000
PRUNE_SECONDS = 600.0
ROWS_PER_PRUNE = 500
RETENTION_MARGIN = timedelta(minutes=10)  # that rows outlive links, as clocks differ

Advance = Callable[[int], Awaitable[None]]


class InvalidationPoller:
    """Applies invalidations until `aclose`. `start` it while the cache is empty.

    ``advance`` is called, before rows are applied and after, with the row id up to which all rows have been
    applied.
    """

    def __init__(
        self,
        log: InvalidationLog,
        cache: LinkCache,
        *,
        environment: str,
        lifetime_seconds: float,
        clock: Clock,
        advance: Advance | None = None,
    ) -> None:
        self.cache = cache
        self._log = log
        self._environment = environment
        # The rows of other environments, whose links may live longer, are pruned with ours.
        self._retention = timedelta(seconds=max(lifetime_seconds, 3600)) + RETENTION_MARGIN
        self._clock = clock
        self._advance = advance
        self._lock = asyncio.Lock()
        self._position = 0
        self._missing = _MissingRows()
        self._applied: dict[str, None] = {}  # invalidation ids, the oldest first
        self._listeners: list[Callable[[str], None]] = []
        self._polled_at = self._prune_at = clock.monotonic()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start polling. Earlier invalidations concern no link in the empty cache."""
        self._position = await self._log.find_position()
        await self._read_new(apply=False)
        self._polled_at = self._clock.monotonic()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="kombo-embed invalidations")

    async def aclose(self) -> None:
        """Stop polling."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Call this with the origin id of each invalidation, before links are invalidated."""
        self._listeners.append(listener)

    @property
    def is_current(self) -> bool:
        """Return whether everything that was committed two seconds ago has been applied."""
        return self._clock.monotonic() - self._polled_at <= CURRENT_SECONDS

    async def apply(self, invalidation: Invalidation) -> None:
        """Apply an invalidation that a transaction of this process has committed; the next poll retries."""
        try:
            await self._apply([invalidation])
        except Exception:
            # The transaction has succeeded, whatever the cache does.
            logger.exception("invalidations.failed")

    async def poll(self) -> None:
        """Apply the invalidations since the last poll, or raise `StoreUnavailable`."""
        async with self._lock:
            now = self._clock.monotonic()
            await self._read_missing(now)
            await self._read_new(apply=True)
            self._polled_at = now
            await self._report_position()

    async def _read_missing(self, now: float) -> None:
        self._missing.expire(now)
        for row_ids in self._missing.batches():
            page = await self._log.find_late(row_ids)
            await self._apply(page.invalidations)
            self._missing.found(page.row_ids)

    async def _read_new(self, *, apply: bool) -> None:
        is_full = True
        while is_full:
            page = await self._log.find(after=self._position, limit=ROWS_PER_READ)
            is_full = len(page.row_ids) == ROWS_PER_READ
            if apply and page.invalidations:
                await self._report_position()
                await self._apply(page.invalidations)
            for row_id in page.row_ids:
                first = max(self._position + 1, row_id - self._log.late_rows)
                self._missing.add(range(first, row_id), now=self._clock.monotonic())
                self._position = row_id

    async def _apply(self, invalidations: Sequence[Invalidation]) -> None:
        new = [one for one in invalidations if one.invalidation_id not in self._applied]
        for invalidation in new:
            for listener in self._listeners:
                listener(invalidation.origin_id)
        of_links = [one for one in new if not one.only_lists]
        for start in range(0, len(of_links), APPLIED_AT_ONCE):
            batch = of_links[start : start + APPLIED_AT_ONCE]
            await asyncio.gather(*(self.cache.invalidate(self._environment, one) for one in batch))
        self._applied.update(dict.fromkeys(one.invalidation_id for one in new))
        for oldest in list(islice(self._applied, max(0, len(self._applied) - REMEMBERED))):
            del self._applied[oldest]

    async def _report_position(self) -> None:
        if self._advance is not None:
            await self._advance(self._missing.lowest(self._position + 1) - 1)

    async def _run(self) -> None:
        # Workers that start together do not poll together: then each row would be applied by several.
        pause = random.uniform(0, POLL_SECONDS)  # noqa: S311 - as above
        while True:
            await asyncio.sleep(pause)
            pause = POLL_SECONDS
            try:
                await self.poll()
                await self._prune()
            except StoreUnavailable:
                pass  # the store has logged it
            except Exception:
                # Without this loop, invalidations of other processes would not be applied any more.
                logger.exception("invalidations.failed")

    async def _prune(self) -> None:
        if self._clock.monotonic() - self._prune_at < PRUNE_SECONDS:
            return
        self._prune_at = self._clock.monotonic()
        before = utc_now(self._clock) - self._retention
        while await self._log.prune(before=before, limit=ROWS_PER_PRUNE) == ROWS_PER_PRUNE:
            pass


class _MissingRows:
    """The numbers between known rows that no visible row has. The oldest beyond a bound are forgotten."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def add(self, row_ids: range, *, now: float) -> None:
        """Remember missing rows."""
        self._since.update(dict.fromkeys(row_ids, now))
        for oldest in list(islice(self._since, max(0, len(self._since) - MISSING_MAX))):
            del self._since[oldest]

    def found(self, row_ids: Sequence[int]) -> None:
        """Forget rows that were found."""
        for row_id in row_ids:
            self._since.pop(row_id, None)

    def expire(self, now: float) -> None:
        """Forget rows whose transaction must have been rolled back."""
        while self._since:
            oldest = next(iter(self._since))
            if self._since[oldest] > now - MISSING_SECONDS:
                return
            del self._since[oldest]

    def batches(self) -> list[list[int]]:
        """Return the rows to look for."""
        row_ids, size = list(self._since), LOOKED_FOR_AT_ONCE
        return [row_ids[start : start + size] for start in range(0, len(row_ids), size)]

    def lowest(self, default: int) -> int:
        """Return the lowest row, or else the default."""
        return min(self._since, default=default)
