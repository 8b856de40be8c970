"""The link cache of one process.

Links live equally long, so the order they came in is the order they end in: a first-in, first-out cache with
the end checked on reading, and a few of the oldest looked at on each writing, never stalls (caches that
sweep everything that has ended in one go do). A dict keeps that order by itself; a cache on top of it would
take 150 bytes more per link. It is cut into small shards, since a large table stalls by itself when it grows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice

from kombo_embed.models import CacheKey, ConnectionLink
from kombo_embed.ports import Clock, Invalidation

SWEPT_PER_WRITE = 2
SHARD_SIZE = 4096  # links

# The mark of the turn, and the link in parts: a tuple of such is nothing for the garbage collector to visit.
Shard = dict[CacheKey, tuple[int, bytes, float]]


class MemoryLinkCache:
    """Keeps at most ``size`` links, and for ``lifetime`` seconds which origin ids were dropped."""

    def __init__(self, *, size: int, lifetime: float, clock: Clock) -> None:
        self._clock = clock
        self._lifetime = lifetime
        self._last_mark = 0
        shards = -(-size // SHARD_SIZE)
        self._shards: list[Shard] = [{} for _ in range(shards)]
        self._shard_size = size // shards
        self._drops = _Drops(size=size)

    async def get(self, key: CacheKey) -> ConnectionLink | None:
        """The link kept for this key, if it is still valid."""
        shard = self._shards[hash(key.email) % len(self._shards)]
        kept = shard.get(key)
        if kept is None:
            return None
        mark, body, deadline = kept
        dropped = self._drops.last((key.environment, key.origin_id))
        if dropped <= mark and self._clock.monotonic() < deadline:
            return ConnectionLink(body, deadline)
        del shard[key]
        return None

    @asynccontextmanager
    async def lease(self, key: CacheKey, *, fresh: bool) -> AsyncIterator[MemoryMintLease]:
        """The turn to mint, at once: nobody else uses this cache."""
        del fresh
        yield MemoryMintLease(self, key)

    async def invalidate(self, environment: str, invalidation: Invalidation) -> None:
        """Forget all links of an origin id, also those being minted now."""
        now = self._clock.monotonic()
        self._drops.add((environment, invalidation.origin_id), self.mark(), now + self._lifetime)
        self._drops.sweep(now)

    def mark(self) -> int:
        """A point in the order of mints and drops: later calls give greater numbers."""
        self._last_mark += 1
        return self._last_mark

    def put(self, key: CacheKey, link: ConnectionLink, mark: int) -> bool:
        """Keep a link whose minting began at the mark, unless its origin id was dropped since."""
        shard = self._shards[hash(key.email) % len(self._shards)]
        self._sweep(shard)
        if self._dropped_since(key, mark):
            return False
        shard.pop(key, None)  # a new link is the last to end, whatever was kept before
        if len(shard) >= self._shard_size:
            del shard[next(iter(shard))]
        shard[key] = (mark, link.body, link.deadline)
        return True

    def __len__(self) -> int:
        return sum(len(shard) for shard in self._shards)

    def _dropped_since(self, key: CacheKey, mark: int) -> bool:
        return self._drops.last((key.environment, key.origin_id)) > mark

    def _sweep(self, shard: Shard) -> None:
        now = self._clock.monotonic()
        for key in list(islice(shard, SWEPT_PER_WRITE)):
            if shard[key][2] <= now:
                del shard[key]
        self._drops.sweep(now)


class MemoryMintLease:
    """The turn to mint one key's link in this process."""

    link: ConnectionLink | None = None

    def __init__(self, cache: MemoryLinkCache, key: CacheKey) -> None:
        self._cache = cache
        self._key = key
        self._mark = cache.mark()

    async def put(self, link: ConnectionLink) -> bool:
        """Keep the link, unless its origin id was dropped since this turn, or its last try, began."""
        kept = self._cache.put(self._key, link, self._mark)
        self._mark = self._cache.mark()
        return kept


class _Drops:
    """The mark of each origin id's last drop; of more than ``size`` it remembers less exactly, never less."""

    def __init__(self, *, size: int) -> None:
        self._size = size
        # (environment, origin id) -> the mark of its last drop, and when no link can be older any more.
        self._marks: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._least = 0

    def last(self, scope: tuple[str, str]) -> int:
        """The mark of the last drop; where that was forgotten too early, of a later one."""
        known = self._marks.get(scope)
        return self._least if known is None else known[0]

    def add(self, scope: tuple[str, str], mark: int, until: float) -> None:
        """Remember a drop."""
        self._marks.pop(scope, None)
        self._marks[scope] = (mark, until)
        if len(self._marks) > self._size:
            _, (self._least, _) = self._marks.popitem(last=False)

    def sweep(self, now: float) -> None:
        """Forget a few that no link is older than."""
        for scope in list(islice(self._marks, SWEPT_PER_WRITE)):
            if self._marks[scope][1] <= now:
                del self._marks[scope]

    def __len__(self) -> int:
        return len(self._marks)
