"""The lease to mint a link, among all processes: its length, and what its holder knows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kombo_embed.models import CacheKey, ConnectionLink

LEASE_SECONDS = 5.0  # renewed while the mint runs; the lease of a process that died expires soon


@dataclass(slots=True)
class RedisLease:
    """The right to mint a link, among all processes. It watches for invalidations since ``started_ms``."""

    key: CacheKey
    mint: bytes
    generation: bytes
    started_ms: int
    is_held: bool = True


@dataclass(frozen=True, slots=True)
class SharedMintLease:
    """A lease to mint a link for all processes; with a ``link``, another process has minted it already."""

    store_link: Callable[[ConnectionLink], Awaitable[bool]] | None = None
    link: ConnectionLink | None = None

    async def put(self, link: ConnectionLink) -> bool:
        """Cache the link unless its origin id was invalidated since the lease, or its last attempt, began."""
        return self.store_link is None or await self.store_link(link)
