"""Opens a set of services once per event loop, and closes it again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Generic, TypeVar

from kombo_embed.errors import ConfigurationError, KomboEmbedError, StoreUnavailable

Opened = TypeVar("Opened")


class Lifetime(Generic[Opened]):
    """Opens lazily, one opening at a time. ``open_all`` pushes what has to be closed onto the stack."""

    def __init__(self, open_all: Callable[[AsyncExitStack], Awaitable[Opened]]) -> None:
        self._open_all = open_all
        self._opened: Opened | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stack, self._opening = AsyncExitStack(), asyncio.Lock()
        self.has_shut_down = False

    @property
    def opened(self) -> Opened | None:
        """Return what is open in the running event loop."""
        return self._opened if self._loop is asyncio.get_running_loop() else None

    async def open(self) -> None:
        """Open everything, also after `shut_down`."""
        self.has_shut_down = False
        await self.ensure_open()

    async def ensure_open(self) -> Opened:
        """Return what is open, opening it if necessary.

        After `shut_down`, raise `StoreUnavailable`: what would be opened now would never be closed.
        """
        loop = asyncio.get_running_loop()
        if self._opened is not None and self._loop is loop:
            return self._opened
        if self._loop is not loop:
            # What a finished loop left open can be neither closed nor used in this one.
            self._loop, self._opened, self.has_shut_down = loop, None, False
            self._stack, self._opening = AsyncExitStack(), asyncio.Lock()
        if self.has_shut_down:
            raise StoreUnavailable("kombo-embed was closed: the app is shutting down.")
        async with self._opening:
            if self._opened is None:
                self._opened = await self._open()
            return self._opened

    async def _open(self) -> Opened:
        try:
            return await self._open_all(self._stack)
        except KomboEmbedError:
            raise
        except Exception as error:
            # Its message may contain a URL with a password, so it stays in the traceback of the cause.
            raise ConfigurationError(
                f"kombo-embed cannot start: opening it raised {type(error).__name__}. The "
                "cause may be a setting, a missing package, or a variable of proxies or certificates."
            ) from error

    async def close(self) -> None:
        """Close everything. The next request may open it again."""
        if self._loop is not asyncio.get_running_loop():
            return
        async with self._opening:
            stack, self._stack, self._opened = self._stack, AsyncExitStack(), None
            await stack.aclose()

    async def shut_down(self) -> None:
        """Close everything and reject later requests."""
        self.has_shut_down = True
        await self.close()
