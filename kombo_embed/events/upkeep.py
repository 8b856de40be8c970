"""Keeps the registry of handlers current, parks what no process can deliver, and restarts stuck lanes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from kombo_embed.deliveries import MISSING_SECONDS, EventHandlers, Outbox
from kombo_embed.errors import StoreUnavailable
from kombo_embed.ports import Clock, utc_now

logger = logging.getLogger("kombo_embed.events")

ROUND_SECONDS = 60.0  # between looks at the next lanes
REGISTER_SECONDS = 600.0  # between the times that a process writes that it has its handlers
SEARCH_SECONDS = 3600.0  # between searches for missing handlers


class Upkeep:
    """Does the periodic work on handlers and lanes. ``wake`` is called when deliveries became due."""

    def __init__(
        self, outbox: Outbox, handlers: EventHandlers, *, clock: Clock, wake: Callable[[], None]
    ) -> None:
        self._outbox = outbox
        self._handlers = handlers
        self._clock = clock
        self._wake = wake
        self._registered: dict[str, tuple[str, ...]] = {}
        self._register_at = clock.monotonic()
        self._search_at = clock.monotonic() + REGISTER_SECONDS  # every process has registered by then

    async def register(self) -> None:
        """Record that this process has its handlers, if that is due or it has new ones."""
        types_by_name = self._handlers.types_by_name()
        monotonic = self._clock.monotonic()
        if types_by_name == self._registered and monotonic < self._register_at:
            return
        if types_by_name:
            parked = await self._outbox.register(types_by_name, now=self._now())
            for name in sorted(parked.keys() - self._registered.keys()):
                logger.warning(
                    "handler.parked",
                    extra={
                        "handler": name,
                        "count": parked[name],
                        "remedy": f"to deliver them, run: kombo-embed events replay --handler {name!r}",
                    },
                )
        self._registered, self._register_at = types_by_name, monotonic + REGISTER_SECONDS

    async def run_once(self) -> None:
        """Do everything that is due."""
        await self.register()
        if await self._outbox.ready_lanes(now=self._now()):
            self._wake()
        if self._clock.monotonic() >= self._search_at:
            self._search_at = self._clock.monotonic() + SEARCH_SECONDS
            await self._park_missing()

    async def run_forever(self) -> None:
        """Do so once a minute."""
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            try:
                await self.run_once()
            except StoreUnavailable:
                pass  # the store has logged it
            except Exception:
                # The next round may succeed, whatever the cause.
                logger.exception("dispatcher.upkeep_failed")

    async def _park_missing(self) -> None:
        own = [*self._handlers.types_by_name()]
        for name, event_type in await self._outbox.find_missing(
            own, now=self._now(), seconds=MISSING_SECONDS
        ):
            parked = 0
            while count := await self._outbox.park(name, event_type, now=self._now()):
                parked += count
            if parked:
                logger.warning(
                    "handler.missing",
                    extra={
                        "handler": name,
                        "event_type": event_type,
                        "count": parked,
                        "remedy": "if it was renamed, run: kombo-embed events replay --handler "
                        f"{name!r} --as NEW_NAME",
                    },
                )
                self._wake()

    def _now(self) -> datetime:
        return utc_now(self._clock)
