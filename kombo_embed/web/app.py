"""The mounted app: our routes, problems for every other path and method, and CORS around all of it."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from kombo_embed.errors import KomboEmbedError
from kombo_embed.web.cors import allow_origins
from kombo_embed.web.endpoints import Services
from kombo_embed.web.problems import method_not_allowed, problem_response, route_not_found
from kombo_embed.web.routes import create_routes


def create_app(services: Services) -> ASGIApp:
    """Return the app that serves everything below the mount path."""

    async def get_services() -> Services:
        return services

    routes = create_routes(get_services)
    methods: dict[str, set[str]] = {}
    for route in routes:
        methods.setdefault(route.path, set()).update(route.methods or ())
    others = [Route(path, _Problem(method_not_allowed(allowed))) for path, allowed in methods.items()]
    # No redirects to a path with or without a slash: they would be absolute URLs, built from the Host header.
    router = Router([*routes, *others], redirect_slashes=False, default=_Problem(route_not_found()))
    return allow_origins(_ExactPaths(routes, router), services.settings.allowed_origins)


class _ExactPaths:
    """Looks up paths without parameters in a dict, and leaves all others to the router.

    Without it, a cached link takes 3 % more CPU (measured as for `kombo_embed.web.bodies._within`).
    """

    def __init__(self, routes: Iterable[Route], router: ASGIApp) -> None:
        self._apps: dict[tuple[str, str], ASGIApp] = {
            (method, route.path): route.endpoint
            for route in routes
            for method in route.methods or ()
            if not route.param_convertors
        }
        self._router = router
        self._not_found = _Problem(route_not_found())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        app = self._apps.get((scope["method"], path), self._router)
        if path.endswith("\n"):
            app = self._not_found  # a route's pattern would match up to the line feed
        await app(scope, receive, send)


class _Problem:
    """Answers every method with one problem."""

    __name__ = "problem"

    def __init__(self, error: KomboEmbedError) -> None:
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await problem_response(self._error)(scope, receive, send)
