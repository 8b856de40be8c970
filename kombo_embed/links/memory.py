"""The link cache of one process.

Links live equally long, so the order they came in is the order they end in: a first-in, first-out cache with
the end checked on reading, and a few of the oldest looked at on each writing, never stalls (the timed caches
of cachetools sweep everything that has ended in one go).
"""

from __future__ import annotations

from itertools import islice

from cachetools import FIFOCache

from kombo_embed.models import ConnectionLink, LinkKey
from kombo_embed.ports import Clock

SWEPT_PER_WRITE = 2


class MemoryLinkCache:
    """Keeps at most ``size`` links, and for ``lifetime`` seconds which origin ids were dropped."""

    def __init__(self, *, size: int, lifetime: float, clock: Clock) -> None:
        self._clock = clock
        self._lifetime = lifetime
        self._last_mark = 0
        self._links: FIFOCache[LinkKey, tuple[int, ConnectionLink]] = FIFOCache(size)
        # (environment, origin id) -> the mark of its last drop, and when no link can be older any more.
        self._drops: dict[tuple[str, str], tuple[int, float]] = {}

    def mark(self) -> int:
        """A point in the order of mints and drops."""
        self._last_mark += 1
        return self._last_mark

    async def get(self, key: LinkKey) -> ConnectionLink | None:
        """The link kept for this key, if it is still valid."""
        kept = self._links.get(key)
        if kept is None:
            return None
        mark, link = kept
        if self._clock.monotonic() < link.deadline and not self._dropped_since(key, mark):
            return link
        del self._links[key]
        return None

    async def keep(self, key: LinkKey, link: ConnectionLink, mark: int) -> bool:
        """Keep the link, unless its origin id was dropped since the mark."""
        self._sweep()
        if self._dropped_since(key, mark):
            return False
        self._links.pop(key, None)
        self._links[key] = (mark, link)
        return True

    async def drop(self, environment: str, origin_id: str) -> None:
        """Forget all links of an origin id, also those being minted now."""
        scope = (environment, origin_id)
        self._drops.pop(scope, None)
        self._drops[scope] = (self.mark(), self._clock.monotonic() + self._lifetime)

    def __len__(self) -> int:
        return len(self._links)

    def _dropped_since(self, key: LinkKey, mark: int) -> bool:
        drop = self._drops.get((key.environment, key.end_user.origin_id))
        return drop is not None and drop[0] > mark

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        for key in list(islice(self._links, SWEPT_PER_WRITE)):
            if self._links[key][1].deadline <= now:
                del self._links[key]
        for scope in list(islice(self._drops, SWEPT_PER_WRITE)):
            if self._drops[scope][1] <= now:
                del self._drops[scope]
