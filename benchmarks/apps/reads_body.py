"""A Starlette route that reads the body and nothing else: what a webhook costs before anything is done."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.wire import WEBHOOKS


async def webhooks(request: Request) -> Response:
    """Read."""
    await request.body()
    return Response(status_code=204)


def create_app() -> Starlette:
    """The app."""
    return Starlette(routes=[Route(WEBHOOKS, webhooks, methods=["POST"])])
