"""The entity tags of lists of integrations, in memory.

Pages poll their list, and nearly always have it already. A poll whose tag is known here reads no database.
"""

from __future__ import annotations

from collections.abc import Callable

from cachetools import LRUCache

from kombo_embed.integration import IntegrationQuery
from kombo_embed.link_cache.invalidation import InvalidationPoller
from kombo_embed.ports import Clock

ORIGIN_IDS, QUERIES_PER_ORIGIN_ID = 10_000, 32
# Workers of an older version, during a rolling upgrade, do not report every change.
MAX_AGE_SECONDS = 60.0


class ListTags:
    """Remembers the tags of lists that this process has served, until their integrations change.

    A change by another process is known within two seconds. When the poller falls behind, no tag is returned.
    """

    def __init__(self, poller: InvalidationPoller, *, clock: Clock) -> None:
        self._poller = poller
        self._clock = clock
        # Tags by origin id and query, each with the time when its list was read.
        self._tags: LRUCache[str, dict[IntegrationQuery, tuple[str, float]]] = LRUCache(ORIGIN_IDS)
        poller.subscribe(self._forget)

    def find(self, origin_id: str, query: IntegrationQuery) -> str | None:
        """Return the tag of a list if it is still current."""
        tags = self._tags.get(origin_id)
        if tags is None or query not in tags or not self._poller.is_current:
            return None
        tag, read_at = tags[query]
        return tag if self._clock.monotonic() - read_at < MAX_AGE_SECONDS else None

    def before_read(self, origin_id: str, query: IntegrationQuery) -> Callable[[str], None]:
        """Return a function that remembers the tag of the list that is read now.

        It does nothing if the integrations have changed since this call.
        """
        tags = self._tags.setdefault(origin_id, {})  # a change replaces it
        read_at = self._clock.monotonic()

        def remember(tag: str) -> None:
            if len(tags) >= QUERIES_PER_ORIGIN_ID:
                tags.clear()
            tags[query] = tag, read_at

        return remember

    def _forget(self, origin_id: str) -> None:
        self._tags.pop(origin_id, None)
