"""CORS for pages of the allowed origins, on every response: errors and preflights too (WHATWG Fetch, 3.2).

If the host has a ``CORSMiddleware`` around ours, its headers replace ours, and it answers the preflights.
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
    """Return the app with CORS headers, with credentials, for these origins; unchanged if there are none."""
    if not allowed:
        return app
    return _AllowedOrigins(
        app,
        allow_origins=allowed,
        allow_credentials=True,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],  # the host decides which header carries the login
        expose_headers=["Cache-Status", "ETag", "Retry-After"],
    )


def allow_origins_to_read(response: Response, allowed: Collection[str]) -> Response:
    """Return one response with the same headers, for routes inside a router of the host's."""
    return cast("Response", allow_origins(response, allowed))  # the host's router only calls it


class _AllowedOrigins(CORSMiddleware):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_vary(message: Message) -> None:
            # Older versions of Starlette omit it if the request has no origin or one that is not allowed.
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if "origin" not in headers.get("vary", "").lower():
                    headers.add_vary_header("Origin")
            await send(message)

        await super().__call__(scope, receive, send_with_vary)

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        response.headers.update(HEADERS)
        return response
