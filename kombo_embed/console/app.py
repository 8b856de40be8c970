"""The console as an ASGI app: who may see which page, the checks of forms, and the headers of responses."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose

from kombo_embed.console import access, actions, pages, static
from kombo_embed.console.access import Action, Authorize
from kombo_embed.console.desk import Desk
from kombo_embed.console.visit import Visit, read_form
from kombo_embed.errors import KomboEmbedError, RouteNotFound
from kombo_embed.lifetime import accept_lifespan
from kombo_embed.middleware import with_whole_path
from kombo_embed.web.cross_origin import verify_origin
from kombo_embed.web.problems import STATUSES

Page = Callable[[Visit], Awaitable[Response]]
OpenDesk = Callable[[], Awaitable[Desk]]

PAGES: dict[str, Page] = {
    "/": pages.overview,
    "/customers": pages.customers,
    "/customer": pages.customer,
    "/events": pages.events,
    "/event": pages.event,
    "/webhooks": pages.webhooks,
    "/health": pages.health,
    **{f"/{name}": static.serve for name in static.FILES},
}
FORMS: dict[str, tuple[Action, Page]] = {
    "/customers": ("read", pages.search_customers),
    "/magic-link": ("link", actions.mint_magic_link),
    "/repair-link": ("link", actions.mint_repair_link),
    "/re-read": ("replay", actions.read_again),
    "/replay": ("replay", actions.replay),
    "/resend": ("replay", actions.resend),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}
# The prefix begins every link of a page: "//host" or "/\host" would lead to another site.
PREFIX = re.compile(r"(/[^/\\\x00-\x20\x7f][^\\\x00-\x20\x7f]*)?")


class ConsoleApp:
    """Serves the console to those whom ``authorize`` names; to all others it does not exist."""

    __name__ = "kombo_embed_console"  # hosts' middlewares read the name of ``scope["endpoint"]``

    def __init__(self, authorize: Authorize, open_desk: OpenDesk) -> None:
        self._authorize = authorize
        self._open_desk = open_desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await accept_lifespan(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        else:
            response = await self._respond(with_whole_path(scope), receive)
            response.headers.update({**HEADERS, **dict(response.headers)})
            await response(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        root_path = scope.get("root_path", "").removesuffix("/")
        path = scope["path"].removeprefix(root_path)
        try:
            actor = await access.find_actor(self._authorize, scope, "read")
            if actor is None or PREFIX.fullmatch(root_path) is None or path not in {*PAGES, *FORMS}:
                return _not_found()
            desk = await self._open_desk()
        except KomboEmbedError as error:
            return Response(f"{error.code}", _status_of(error), media_type="text/plain")
        visit = Visit(Request(scope, receive), desk, actor, quote(root_path), self._authorize)
        try:
            return await self._serve(visit, path)
        except RouteNotFound:
            return _not_found()
        except KomboEmbedError as error:
            return visit.page("error.html", status=_status_of(error), error=error)

    async def _serve(self, visit: Visit, path: str) -> Response:
        method, page = visit.request.method, PAGES.get(path)
        if method == "POST" and path in FORMS:
            return await self._submit(visit, *FORMS[path])
        if method in {"GET", "HEAD"} and page is not None:
            return await page(visit)
        allowed = [*(("GET", "HEAD") if page else ()), *(("POST",) if path in FORMS else ())]
        return Response("Method Not Allowed", 405, {"Allow": ", ".join(allowed)}, media_type="text/plain")

    async def _submit(self, visit: Visit, action: Action, page: Page) -> Response:
        if action != "read" and not await visit.may(action):
            raise RouteNotFound("There is no such page.")
        verify_origin(visit.request, ())
        visit.form = await read_form(visit.request)
        access.verify_token(visit.desk, visit.actor, visit.form.get("token", ""))
        return await page(visit)


def _not_found() -> Response:
    return Response("Not Found", 404, media_type="text/plain")


def _status_of(error: KomboEmbedError) -> int:
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
