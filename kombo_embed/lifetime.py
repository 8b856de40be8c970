"""When an embed opens and closes: once per event loop, and with the lifespan of its host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Generic, Protocol, TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kombo_embed.errors import ConfigurationError, KomboEmbedError, StoreUnavailable

Opened = TypeVar("Opened")
# Each framework has its own types of scopes and messages.
HostApp = Callable[[Any, Any, Any], Awaitable[None]]


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


class Mountable(Protocol):
    """What the middleware needs of a `KomboEmbed`."""

    @property
    def app(self) -> ASGIApp:
        """Return the routes as an ASGI app."""

    async def open(self) -> None:
        """Open everything; raise `KomboEmbedError` if that fails."""

    async def close(self) -> None:
        """Close everything; the next request may open it again."""

    async def shut_down(self) -> None:
        """Close everything and reject later requests."""


class Lifespan:
    """One lifespan of the host, with the embed's opening before it and its closing after it.

    A host that has no lifespan, such as Django, is given one: the embed alone is opened and closed.
    """

    def __init__(self, embed: Mountable, receive: Receive, send: Send) -> None:
        self._embed = embed
        self._receive = receive
        self._send = send
        self._has_begun = False
        self._is_open = False

    async def run(self, app: HostApp, scope: Scope) -> None:
        """Run the lifespan of ``app``; a start that fails is raised only to those who are no server."""
        try:
            await self._run_host(app, scope)
        except KomboEmbedError as error:
            if self._is_open:
                raise
            # Servers print this message and exit, instead of printing a traceback or starting without us.
            await self._send({"type": "lifespan.startup.failed", "message": str(error)})
            if "asgi" not in scope:
                raise  # no server but a test client, such as Starlette's, which otherwise waits for ever
        finally:
            # A host whose lifespan ended early is still served: the first request opens the embed again.
            if self._is_open:
                await self._embed.close()

    async def _run_host(self, app: HostApp, scope: Scope) -> None:
        try:
            await app(scope, self._open_at_startup, self._close_at_end)
        except Exception:
            if self._has_begun:
                raise
        if not self._has_begun:  # it refused or ignored the scope (ASGI, Lifespan Protocol)
            await accept_lifespan(scope, self._open_at_startup, self._close_at_end)

    async def _open_at_startup(self) -> Message:
        self._has_begun = True
        message = await self._receive()
        if message["type"] == "lifespan.startup":
            await self._embed.open()
            self._is_open = True
        return message

    async def _close_at_end(self, message: Message) -> None:
        ended = {"lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed"}
        if self._is_open and message["type"] in ended:
            self._is_open = False
            await self._embed.shut_down()
        await self._send(message)


async def accept_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Run the lifespan of an app that has nothing to open and to close."""
    del scope
    for event in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{event}.complete"})
