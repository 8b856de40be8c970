"""The mounted app: our routes, problems for every other path and method, and CORS around all of it."""

from __future__ import annotations

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from kombo_embed.errors import KomboEmbedError
from kombo_embed.web.cors import allow_origins
from kombo_embed.web.endpoints import Services
from kombo_embed.web.problems import problem_response
from kombo_embed.web.routes import METHODS_BY_PATH, create_routes, method_not_allowed, route_not_found


def create_app(services: Services) -> ASGIApp:
    """Return the app that serves everything below the mount path."""

    async def get_services() -> Services:
        return services

    routes = create_routes(get_services)
    routes += [Route(path, _Problem(method_not_allowed(path))) for path in METHODS_BY_PATH]
    # No redirects to a path with or without a slash: they would be absolute URLs, built from the Host header.
    router = Router(routes, redirect_slashes=False, default=_Problem(route_not_found()))
    return allow_origins(router, services.settings.allowed_origins)


class _Problem:
    """Answers every method with one problem."""

    def __init__(self, error: KomboEmbedError) -> None:
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await problem_response(self._error)(scope, receive, send)
