"""The pure ASGI middleware that ties a `KomboEmbed` to its host's lifespan."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kombo_embed.errors import KomboEmbedError

STATE_KEY = "kombo"
# Each framework has its own types of scopes and messages.
HostApp = Callable[[Any, Any, Any], Awaitable[None]]


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


class KomboEmbedMiddleware:
    """Opens ``embed`` when the host starts and closes it after the host has stopped.

    The host's handlers find the embed in ``scope["state"]["kombo"]`` (Starlette: ``request.state.kombo``).
    The middleware reads no request body.

    Args:
        app: The host's ASGI app, of any framework.
        embed: The `KomboEmbed` to open and close.
        path: Also serve the routes below this path, for hosts without a router to mount them in.
    """

    def __init__(self, app: HostApp, *, embed: Mountable, path: str | None = None) -> None:
        self.app = app
        self._embed = embed
        self._serve = embed.app
        self._path = path.rstrip("/") if path is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await Lifespan(self._embed, receive, send).run(self.app, scope)
            return
        if scope["type"] in {"http", "websocket"}:
            scope.setdefault("state", {})[STATE_KEY] = self._embed
            if self._path is not None and scope["type"] == "http":
                root_path = scope.get("root_path", "")
                # Servers put the root path in front of the path (ASGI, HTTP scope); some older ones do not.
                if f"{scope['path'].removeprefix(root_path)}/".startswith(f"{self._path}/"):
                    await self._serve({**scope, "root_path": root_path + self._path}, receive, send)
                    return
        await self.app(scope, receive, send)


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
        """Run the lifespan of ``app``."""
        try:
            await self._run_host(app, scope)
        except KomboEmbedError as error:
            if self._is_open:
                raise
            # Servers print this message and exit, instead of printing a traceback or starting without us.
            await self._send({"type": "lifespan.startup.failed", "message": str(error)})
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
