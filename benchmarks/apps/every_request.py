"""A Starlette route behind the session login that asks Kombo on every request, in a given way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.apps.login import session_middleware, signed_in
from benchmarks.wire import LINKS

AskForLink = Callable[[dict[str, str]], Awaitable[str]]


def create_app_that_asks(ask: AskForLink, close: Callable[[], Awaitable[object]]) -> Starlette:
    """The route around a way to call Kombo."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await close()

    async def links(request: Request) -> Response:
        user = signed_in(request)
        if user is None:
            return JSONResponse({"code": "unauthenticated"}, status_code=401)
        return JSONResponse({"link": await ask(user)})

    routes = [Route(LINKS, links, methods=["POST"])]
    return Starlette(routes=routes, middleware=[session_middleware()], lifespan=lifespan)
