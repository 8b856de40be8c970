"""A Starlette route behind the session login that answers a constant: the least that a route can do."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.apps.login import session_middleware, signed_in
from benchmarks.wire import LINKS

CONSTANT = {"link": "https://connect.kombo.dev/?token=constant", "expires_at": "2026-11-22T12:00:00Z"}


async def links(request: Request) -> Response:
    """Answer who is signed in."""
    if signed_in(request) is None:
        return JSONResponse({"code": "unauthenticated"}, status_code=401)
    return JSONResponse(CONSTANT)


def create_app() -> Starlette:
    """The app."""
    return Starlette(routes=[Route(LINKS, links, methods=["POST"])], middleware=[session_middleware()])
