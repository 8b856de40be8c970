"""The catalogue of Kombo's tools, for pages with a tool picker of their own."""

from __future__ import annotations

from typing import get_args

from cachetools import TTLCache

from kombo_embed.errors import KomboError, KomboInvalidResponse, KomboRejected
from kombo_embed.kombo.client import KomboClient
from kombo_embed.models import Category
from kombo_embed.ports import Clock
from kombo_embed.single_flight import SingleFlight
from kombo_embed.upstream import Tool

CACHE_SECONDS = 3600
# Another request would get the same, and no rate limits these calls. The circuit breaker limits those that
# fail otherwise.
REFUSAL_SECONDS = 30
CATEGORY_COUNT = len(get_args(Category))


class ToolCatalogue:
    """Lists the tools of each category, cached for an hour. Close it with `aclose`.

    A response of Kombo's that has no list is remembered for half a minute.
    """

    def __init__(self, client: KomboClient, *, allowed: tuple[str, ...], clock: Clock) -> None:
        self._client = client
        self._allowed = allowed
        self._cache: TTLCache[str, list[Tool]] = TTLCache(
            CATEGORY_COUNT, CACHE_SECONDS, timer=clock.monotonic
        )
        self._refusals: TTLCache[str, KomboError] = TTLCache(
            CATEGORY_COUNT, REFUSAL_SECONDS, timer=clock.monotonic
        )
        self._flights: SingleFlight[str, list[Tool]] = SingleFlight()

    async def aclose(self) -> None:
        """Cancel the calls that still run."""
        await self._flights.aclose()

    async def list_tools(self, category: str) -> list[Tool]:
        """Return the category's tools that the settings allow, in Kombo's order."""
        tools = self._cache.get(category)
        if tools is None:
            refusal = self._refusals.get(category)
            if refusal is not None:
                raise refusal.with_traceback(None)  # it would grow with each request
            tools, _ = await self._flights.join(category, lambda: self._fetch(category))
        return tools

    async def _fetch(self, category: str) -> list[Tool]:
        try:
            tools = await self._client.list_tools(category)
        except (KomboRejected, KomboInvalidResponse) as error:
            self._refusals[category] = error
            raise
        if self._allowed:
            tools = [tool for tool in tools if tool.id in self._allowed]
        self._cache[category] = tools
        return tools
