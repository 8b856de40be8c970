"""How the routes are mounted: the ASGI app, its mount, and its paths behind a proxy."""

from __future__ import annotations

import re

from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from kombo_embed.middleware import Lifespan, Mountable, accept_lifespan


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
