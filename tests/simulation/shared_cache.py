"""A link cache that several processes share, in Redis's place: real sockets do not exist on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kombo_embed.models import CacheKey, ConnectionLink
from kombo_embed.ports import Invalidation, MintLease
from tests.simulation.invariants import MARGIN_SECONDS
from tests.simulation.virtual_time import VirtualLoop

LEASE_SECONDS = 5.0  # as that of the real one
POLL_SECONDS = 0.05
WAITED_SECONDS = 10.0


class SharedCache:
    """Links, leases and invalidations, each stamped with a number that only grows. It may be down."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._stamp = 0
        self._links: dict[CacheKey, tuple[int, ConnectionLink]] = {}
        self._invalidated: dict[tuple[str, str], int] = {}
        self._leases: dict[CacheKey, tuple[object, float]] = {}
        self.is_down = False

    def lose_everything(self) -> None:
        """Forget links and leases, as a restart does."""
        self._links.clear()
        self._leases.clear()

    def stamp(self) -> int:
        """Return the next number."""
        self._stamp += 1
        return self._stamp

    def find(self, key: CacheKey, *, after: int = 0) -> ConnectionLink | None:
        """Return a link that was put after this stamp, and is valid."""
        stamp, link = self._links.get(key, (0, None))
        if self.is_down or link is None or stamp <= max(after, self._last(key)):
            return None
        return link if self._loop.now < link.deadline else None

    def acquire(self, key: CacheKey, owner: object) -> bool:
        """Take the lease unless another owner has it."""
        holder, ends_at = self._leases.get(key, (owner, 0.0))
        if not self.is_down and holder is not owner and self._loop.now < ends_at:
            return False
        self._leases[key] = owner, self._loop.now + LEASE_SECONDS
        return True

    def release(self, key: CacheKey, owner: object) -> None:
        """Give the lease back if the owner still has it."""
        if self._leases.get(key, (None, 0.0))[0] is owner:
            del self._leases[key]

    def put(self, key: CacheKey, link: ConnectionLink, *, began: int) -> bool:
        """Cache a link unless its origin id was invalidated since its mint began."""
        if began <= self._last(key):
            return False
        if not self.is_down:
            self._links[key] = self.stamp(), link
        return True

    def invalidate(self, environment: str, origin_id: str) -> None:
        """Invalidate the links of an origin id."""
        self._invalidated[environment, origin_id] = self.stamp()

    def _last(self, key: CacheKey) -> int:
        return self._invalidated.get((key.environment, key.origin_id), 0)


class SharedLinkCache:
    """The view of one process on the shared cache: a `kombo_embed.ports.LinkCache`."""

    def __init__(self, shared: SharedCache) -> None:
        self._shared = shared

    async def get(self, key: CacheKey) -> ConnectionLink | None:
        """Return the cached link."""
        await asyncio.sleep(0.001)
        return self._shared.find(key)

    @asynccontextmanager
    async def lease(self, key: CacheKey, *, fresh: bool) -> AsyncIterator[MintLease]:
        """Wait for the lease, or for the link of the process that has it."""
        owner, began, loop = object(), self._shared.stamp(), asyncio.get_running_loop()
        gives_up_at = loop.time() + WAITED_SECONDS
        while not self._shared.acquire(key, owner) and loop.time() < gives_up_at:
            await asyncio.sleep(POLL_SECONDS)
            link = self._shared.find(key, after=began if fresh else 0)
            if link is not None and link.deadline - loop.time() >= MARGIN_SECONDS:
                yield _Lease(self._shared, key, link)
                return
        try:
            yield _Lease(self._shared, key)
        finally:
            self._shared.release(key, owner)

    async def invalidate(self, environment: str, invalidation: Invalidation) -> None:
        """Invalidate the links of an origin id."""
        await asyncio.sleep(0.001)
        self._shared.invalidate(environment, invalidation.origin_id)


class _Lease:
    def __init__(self, shared: SharedCache, key: CacheKey, link: ConnectionLink | None = None) -> None:
        self._shared, self._key, self._link = shared, key, link
        self._began = shared.stamp()

    @property
    def link(self) -> ConnectionLink | None:
        """Return the link that another process minted."""
        return self._link

    async def put(self, link: ConnectionLink) -> bool:
        """Cache the link."""
        await asyncio.sleep(0.001)
        is_cached = self._shared.put(self._key, link, began=self._began)
        self._began = self._shared.stamp()
        return is_cached
