"""CORS for the pages of allowed origins, on every answer: errors and preflights too (WHATWG Fetch, 3.2).

Starlette's own middleware does it. A host's ``CORSMiddleware`` around ours replaces our headers by its own,
and answers preflights before we see them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kombo_embed.web.responses import HEADERS


def allow_origins(app: ASGIApp, allowed: Collection[str]) -> ASGIApp:
    """The app, readable with credentials by pages of these origins; unchanged where none is allowed."""
    if not allowed:
        return app
    return _AllowedOrigins(
        app,
        allow_origins=allowed,
        allow_credentials=True,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],  # a page that may call us may send its login in whatever header the host reads
        expose_headers=["Cache-Status", "ETag", "Retry-After"],
    )


def allow_origins_to_read(response: Response, allowed: Collection[str]) -> Response:
    """A single answer, as above, for routes that stand in a router of the host's."""
    return cast("Response", allow_origins(response, allowed))  # all that is done to it is to call it


class _AllowedOrigins(CORSMiddleware):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_varying(message: Message) -> None:
            # Older Starlettes leave it out where the origin is not allowed, or there is none.
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if "origin" not in headers.get("vary", "").lower():
                    headers.add_vary_header("Origin")
            await send(message)

        await super().__call__(scope, receive, send_varying)

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        response.headers.update(HEADERS)
        return response
