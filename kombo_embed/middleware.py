"""How a host serves an embed: the pure ASGI middleware, and the routes as an app and its mount."""

from __future__ import annotations

import re

from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from kombo_embed.errors import ConfigurationError
from kombo_embed.lifetime import HostApp, Lifespan, Mountable, accept_lifespan

STATE_KEY = "kombo"


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
        self._path = verify_path(path).rstrip("/") if path is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await Lifespan(self._embed, receive, send).run(self.app, scope)
            return
        if scope["type"] in {"http", "websocket"}:
            scope.setdefault("state", {})[STATE_KEY] = self._embed
            if self._path is not None and scope["type"] == "http":
                root_path = scope.get("root_path", "")
                if f"{_path_in_app(scope['path'], root_path)}/".startswith(f"{self._path}/"):
                    await self._serve({**scope, "root_path": root_path + self._path}, receive, send)
                    return
        await self.app(scope, receive, send)


class EmbedApp:
    """The routes as an ASGI app that a router mounts or a server runs.

    Under a server it opens the embed at the start and closes it at the end.
    """

    __name__ = "kombo_embed"  # hosts' middlewares read the name of ``scope["endpoint"]``

    def __init__(self, embed: Mountable, serve: ASGIApp) -> None:
        self._embed = embed
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the lifespan."""
        if scope["type"] == "lifespan":
            await Lifespan(self._embed, receive, send).run(accept_lifespan, scope)
        elif scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        else:
            await self._serve(with_whole_path(scope), receive, send)


class EmbedMount(Mount):
    """A mount that also matches paths with a line feed, which Starlette would leave to the host."""

    def __init__(self, path: str, app: ASGIApp) -> None:
        super().__init__(path, app=app)
        self.path_regex = re.compile(self.path_regex.pattern, re.DOTALL)


def verify_path(path: str) -> str:
    """Return the path of a mount; raise `ConfigurationError` if no request ever has it."""
    if path and not path.startswith("/"):
        raise ConfigurationError(f"The path {path} must begin with a slash: /{path}")
    return path


def _path_in_app(path: str, root_path: str) -> str:
    # Servers put the root path in front of the path (ASGI, HTTP connection scope); some older ones do not.
    return path[len(root_path) :] if f"{path}/".startswith(f"{root_path}/") else path


def with_whole_path(scope: Scope) -> Scope:
    """Return the scope with a path that begins with the root path (ASGI, HTTP connection scope).

    Behind a proxy that strips a prefix, servers pass the root path without putting it in front of the path.
    """
    path, root_path = scope["path"], scope.get("root_path", "")
    if path.startswith(root_path + "/") or not root_path:
        return scope
    for start in (at for at, character in enumerate(root_path) if character == "/"):
        # What was stripped is the beginning of the root path; the rest of it is where the routers mounted us.
        if f"{path}/".startswith(f"{root_path[start:]}/"):
            return scope if start == 0 else {**scope, "path": root_path[:start] + path}
    return scope
