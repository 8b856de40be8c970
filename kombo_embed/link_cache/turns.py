"""The turns to mint that processes share: one that was won, one that another's link made needless."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from kombo_embed.link_cache.redis import Lease
from kombo_embed.models import ConnectionLink
from kombo_embed.ports import MintLease


class RedisMintLease:
    """A turn under a lease.

    Args:
        keep: Keeps a link under the lease, or where Redis is gone, with this process's own turn.
        lease: The lease.
        own: This process's own turn.
    """

    link: ConnectionLink | None = None

    def __init__(
        self,
        keep: Callable[[Lease, ConnectionLink, MintLease], Awaitable[bool]],
        lease: Lease,
        own: MintLease,
    ) -> None:
        self._keep = keep
        self._lease = lease
        self._own = own

    async def put(self, link: ConnectionLink) -> bool:
        """Keep the link, unless its origin id was dropped meanwhile."""
        return await self._keep(self._lease, link, self._own)


class FulfilledLease:
    """The turn of whoever waited until somebody else had minted; nothing is left to keep."""

    def __init__(self, link: ConnectionLink) -> None:
        self.link = link

    async def put(self, link: ConnectionLink) -> bool:
        """What was found is kept already."""
        del link
        return True
