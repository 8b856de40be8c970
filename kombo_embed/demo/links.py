"""The demo's link cache: it forgets what the sandbox forgot.

On the sandbox's state page an hour can be skipped and everything be forgotten. Kombo has no such buttons, so
no host needs this.
"""

from __future__ import annotations

import time

from kombo_embed import Settings
from kombo_embed.link_cache.memory import MemoryLinkCache
from kombo_embed.models import CacheKey, ConnectionLink
from kombo_embed.sandbox import Sandbox


class LinksThatOpen(MemoryLinkCache):
    """A link cache in memory that gives no link which the sandbox would not open."""

    def __init__(self, settings: Settings, sandbox: Sandbox) -> None:
        super().__init__(size=settings.link_cache_size, lifetime_seconds=settings.lifetime, clock=time)
        self._sandbox = sandbox

    async def get(self, key: CacheKey) -> ConnectionLink | None:
        """The link kept for this key, if it is still valid and would open."""
        link = await super().get(key)
        return link if link is not None and self._sandbox.opens(link.link) else None
