"""The pure ASGI middleware that ties a `KomboEmbed` to its host's lifetime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kombo_embed.errors import KomboEmbedError

if TYPE_CHECKING:
    from kombo_embed.embed import KomboEmbed

STATE_KEY = "kombo"


class BareMountPath:
    """The mount path with nothing below it, served by the mount's own app.

    A mount does not know it, so that the host's router would redirect it to an absolute URL that it makes
    from the Host header, which anybody can choose.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        await self._app(scope, receive, send)


class KomboEmbedMiddleware:
    """Opens ``embed`` when the host starts and closes it after the host has stopped.

    It offers the embed to the host's handlers as ``scope["state"]["kombo"]`` (Starlette's
    ``request.state.kombo``) and reads no request's body.

    Args:
        app: The host's ASGI app, of any framework.
        embed: What to tie to it.
        path: Serve the routes here too, for hosts that have no router to mount them in.
    """

    def __init__(self, app: ASGIApp, *, embed: KomboEmbed, path: str | None = None) -> None:
        self.app = app
        self._embed = embed
        self._serve = embed.app
        self._path = path.rstrip("/") if path is not None else None
        self._below = f"{self._path}/"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        if scope["type"] in {"http", "websocket"}:
            scope.setdefault("state", {})[STATE_KEY] = self._embed
            if self._path is not None and scope["type"] == "http":
                root_path = scope.get("root_path", "")
                # Servers put the root path in front of the path (ASGI, HTTP scope); some older ones do not.
                if f"{scope['path'].removeprefix(root_path)}/".startswith(self._below):
                    await self._serve({**scope, "root_path": root_path + self._path}, receive, send)
                    return
        await self.app(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        opened = False

        async def receive_opening() -> Message:
            nonlocal opened
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._embed.open()
                opened = True
            return message

        async def send_closing(message: Message) -> None:
            nonlocal opened
            if opened and message["type"] in {
                "lifespan.startup.failed",
                "lifespan.shutdown.complete",
                "lifespan.shutdown.failed",
            }:
                opened = False
                await self._embed.end()
            await send(message)

        try:
            await self.app(scope, receive_opening, send_closing)
        except KomboEmbedError as error:
            if opened:
                raise
            # Servers print this message and stop, instead of a traceback or of going on without us.
            await send({"type": "lifespan.startup.failed", "message": str(error)})
        finally:
            # A host that knows no lifespan is still served: the first request opens again.
            if opened:
                await self._embed.close()
