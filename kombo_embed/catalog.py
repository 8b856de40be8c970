"""Kombo's tools, for pages with a picker of their own: asked for once an hour and category."""

from __future__ import annotations

from typing import get_args

from cachetools import TTLCache

from kombo_embed.kombo.client import KomboClient
from kombo_embed.links.single_flight import SingleFlight
from kombo_embed.models import Category
from kombo_embed.ports import Clock
from kombo_embed.reports import Tool

KEPT_SECONDS = 3600
CATEGORIES = len(get_args(Category))


class ToolCatalog:
    """The tools of each category. Close it with `aclose`."""

    def __init__(self, client: KomboClient, *, allowed: tuple[str, ...], clock: Clock) -> None:
        self._client = client
        self._allowed = allowed
        self._kept: TTLCache[str, list[Tool]] = TTLCache(CATEGORIES, KEPT_SECONDS, timer=clock.monotonic)
        self._asking: SingleFlight[str, list[Tool]] = SingleFlight()

    async def aclose(self) -> None:
        """End the calls that are still under way."""
        await self._asking.aclose()

    async def tools_of(self, category: str) -> list[Tool]:
        """The category's tools that are allowed here, as Kombo orders them.

        Raises:
            KomboError: Kombo refused, failed, or could not be reached in time.
        """
        tools = self._kept.get(category)
        if tools is None:
            tools, _ = await self._asking.join(category, lambda: self._ask(category))
        return tools

    async def _ask(self, category: str) -> list[Tool]:
        tools = await self._client.tools_of(category)
        if self._allowed:
            tools = [tool for tool in tools if tool.id in self._allowed]
        self._kept[category] = tools
        return tools
