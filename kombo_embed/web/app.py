"""The mounted app: the calls, problems for all else below the mount path, and CORS around all of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router, request_response
from starlette.types import ASGIApp, Receive, Scope, Send

from kombo_embed.errors import MethodNotAllowed, RouteNotFound
from kombo_embed.web.cors import allow_origins
from kombo_embed.web.endpoints import Services
from kombo_embed.web.incoming import Incoming
from kombo_embed.web.problems import problem
from kombo_embed.web.routes import create_open_routes


def create_app(services: Services) -> ASGIApp:
    """Everything below the mount path."""
    routes = create_open_routes(services)
    paths: dict[str, set[str]] = {}
    for route in routes:
        paths.setdefault(route.path, set()).update(route.methods or ())
    refusals = [Route(path, MethodRefusal(tuple(sorted(methods)))) for path, methods in paths.items()]
    # No redirect to a path with or without a slash: it would be an absolute URL, made from the Host header.
    router = Router([*routes, *refusals], redirect_slashes=False, default=request_response(_missing))
    return allow_origins(FixedPaths(routes, router), services.settings.allowed_origins)


class FixedPaths:
    """Serves the paths without a parameter, found in a table; all else, refusals too, is the router's.

    Args:
        routes: All routes; those with a parameter are passed over.
        router: What serves the rest.
    """

    def __init__(self, routes: Iterable[Route], router: ASGIApp) -> None:
        self._endpoints = {
            (method, route.path): route.endpoint
            for route in routes
            for method in route.methods or ()
            if not route.param_convertors
        }
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        endpoint = self._endpoints.get((scope["method"], path))
        if endpoint is None:
            await self._router(scope, receive, send)
            return
        response = await endpoint(Request(scope, Incoming(receive), send))
        await response(scope, receive, send)


@dataclass(frozen=True, slots=True)
class MethodRefusal:
    """Answers a path that is known, with a method that is not."""

    allowed: tuple[str, ...]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the problem."""
        await method_refused(self.allowed)(scope, receive, send)


def method_refused(allowed: tuple[str, ...]) -> Response:
    """The answer to a method that a path does not know."""
    return problem(MethodNotAllowed("This path does not know this method.", allowed=allowed))


def route_missing() -> Response:
    """The answer to any other path below the mount path."""
    return problem(RouteNotFound("There is no such path here."))


async def _missing(request: Request) -> Response:
    del request
    return route_missing()
