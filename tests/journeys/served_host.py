"""A host app that a real server imports: kombo-embed in it in three ways, and a route of its own."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kombo_embed import KomboEmbed, KomboEmbedMiddleware
from tests.support import end_user_from_header

embed = KomboEmbed(end_user=end_user_from_header)
seen: list[str] = []


class NamedEndpoints:
    """A middleware that reads the name of the endpoint, as those for metrics and tracing do."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
        if "endpoint" in scope:
            seen.append(scope["endpoint"].__name__)


async def own(request: Request) -> JSONResponse:
    del request
    return JSONResponse({"endpoints": seen})


def create_app(kind: type[Starlette], **options: Any) -> ASGIApp:
    app = kind(routes=[Route("/own", own), Mount("/mounted", embed.app)], **options)
    embed.install(app, "/installed")
    app.add_middleware(NamedEndpoints)
    app.add_middleware(KomboEmbedMiddleware, embed=embed, path="/by-path")
    return app


app = create_app(Starlette)
app_with_root_path = create_app(FastAPI, root_path="/api")
alone = embed.app
