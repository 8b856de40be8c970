"""The console of one person at their own machine, opened by a code that is typed into a form."""

from __future__ import annotations

import hmac
import secrets

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from kombo_embed.console.app import HEADERS
from kombo_embed.console.render import render
from kombo_embed.console.static import FILES
from kombo_embed.console.visit import read_form
from kombo_embed.errors import KomboEmbedError
from kombo_embed.web.cross_origin import verify_origin

ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # without what looks alike
CODE_LENGTH, ATTEMPTS = 8, 10
COOKIE = "kombo_console"


def make_code() -> str:
    """Return a code to type, of forty bits."""
    letters = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
    return f"{letters[:4]}-{letters[4:]}"


class SignIn:
    """Serves the console to the browser in which the code was typed; after ten wrong ones, to no other."""

    def __init__(self, app: ASGIApp, *, code: str) -> None:
        self._app = app
        self._code = code
        self._attempts = 0
        self._session = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        session = request.cookies.get(COOKIE, "")
        is_signed_in = hmac.compare_digest(session.encode(), self._session.encode())
        if is_signed_in or scope["path"].removeprefix("/") in FILES:
            await self._app(scope, receive, send)
            return
        response = await self._respond(request)
        response.headers.update(HEADERS)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        if request.method != "POST":
            return self._form(status=401)
        try:
            verify_origin(request, ())
            typed = (await read_form(request)).get("code", "")
        except KomboEmbedError:
            return self._form(status=403)
        if self._attempts >= ATTEMPTS:
            return self._form(problem="That was wrong too often. Start the command again.", status=429)
        self._attempts += 1
        if not hmac.compare_digest(_plain(typed), _plain(self._code)):
            return self._form(problem="This is not the code in the terminal.", status=403)
        self._attempts = 0
        response = RedirectResponse("/", status_code=303)
        response.set_cookie(COOKIE, self._session, httponly=True, samesite="strict")
        return response

    def _form(self, *, problem: str = "", status: int) -> Response:
        return render("sign_in.html", {"problem": problem, "prefix": ""}, status=status)


def _plain(code: str) -> bytes:
    return code.upper().replace("-", "").replace(" ", "").encode()
