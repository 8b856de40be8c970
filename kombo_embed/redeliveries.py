"""Kombo's events that this process has recorded not long ago: sent again, they cost no transaction.

Kombo sends an event again until it is answered with a 2xx, and an answer may be lost on its way. The database
alone decides what is new; this only saves asking it.
"""

from __future__ import annotations

from cachetools import TTLCache

from kombo_embed.ports import Clock

KEPT = 4096  # events
KEPT_SECONDS = 600


class Redeliveries:
    """Remembers the ids of events whose receipt is finished: committed, with all that follows from it."""

    def __init__(self, *, clock: Clock) -> None:
        self._finished: TTLCache[str, None] = TTLCache(KEPT, KEPT_SECONDS, timer=clock.monotonic)

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._finished

    def add(self, event_id: str) -> None:
        """Remember an event that nothing is left to do for."""
        self._finished[event_id] = None
