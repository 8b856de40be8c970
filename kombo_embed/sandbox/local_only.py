"""Keeps web pages of other sites from controlling the sandbox and the demo, or from reading them.

A page can make a browser send requests to a loopback address, and after DNS rebinding read the responses. The
first is recognized by ``Sec-Fetch-Site`` or ``Origin``, the second by ``Host`` (W3C, Fetch Metadata).
"""

import re
from collections.abc import Callable, Collection

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from kombo_embed.urls import is_loopback

# Returns whether only pages of the app's own origin, and programs, may make this request.
IsProtected = Callable[[Scope], bool]
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


class LocalOnly:
    """Rejects requests with a foreign Host, and protected ones from pages of other origins.

    ``hosts`` are names in lower case, accepted beside this machine's own. After DNS rebinding the requests of
    a page name its site, which is none of them.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        is_protected: IsProtected,
        exempt: str = "/v1/",
        hosts: Collection[str] = (),
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._is_protected = is_protected
        self._exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or reject it with 403."""
        reason = self._reason(scope) if scope["type"] == "http" else None
        if reason is None:
            await self._app(scope, receive, send)
        else:
            await JSONResponse({"error": reason}, 403)(scope, receive, send)

    def _reason(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        is_exempt = scope["path"].startswith(self._exempt)
        if is_exempt and not _is_from_page(headers):
            return None  # Kombo's API, which programs of other machines call by any name
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_known(_hostname(hosts[0])):
            return (
                "The Host of this request is not this machine. Use http://localhost with the port, or start "
                "the server with --public-url."
            )
        if not is_exempt and self._is_protected(scope) and not _is_own(headers, hosts[0]):
            return "Pages of other origins may not make this request."
        return None

    def _is_known(self, name: str) -> bool:
        return is_loopback(name) or name in self._hosts


def changes_something(scope: Scope) -> bool:
    """Return whether the request's method is not a safe one (RFC 9110, 9.2.1)."""
    return scope["method"] not in SAFE_METHODS


def _hostname(host: str) -> str:
    """Return the name or address in a Host header; empty if it has anything else than one and a port."""
    match = HOST.fullmatch(host)
    return match[1].strip("[]").lower() if match else ""


def _is_from_page(headers: Headers) -> bool:
    # Browsers send an origin with everything that can change something (WHATWG Fetch, 3.1).
    return "origin" in headers or "sec-fetch-site" in headers


def _is_own(headers: Headers, host: str) -> bool:
    sites, origins = headers.getlist("sec-fetch-site"), headers.getlist("origin")
    if sites:
        return sites in (["same-origin"], ["none"])
    return not origins or origins in ([f"http://{host.lower()}"], [f"https://{host.lower()}"])
