"""The API behind the Next.js app, which passes /kombo and /sign-in on to it. Its login is a cookie."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse
from starlette.routing import Route

from kombo_embed import EndUser, KomboEmbed

ADA = EndUser(email="ada@northwind.example", organization_name="Northwind", origin_id="org_1")


async def current_end_user(connection: HTTPConnection) -> EndUser | None:
    """Return the signed-in end user."""
    return ADA if connection.session.get("user") == "ada" else None


async def sign_in(request: Request) -> RedirectResponse:
    """Sign Ada in. Your app requires a password."""
    request.session["user"] = "ada"
    return RedirectResponse("/", status_code=303)


app = Starlette(
    routes=[Route("/sign-in", sign_in)],
    middleware=[
        Middleware(
            SessionMiddleware, secret_key=os.environ.get("SESSION_SECRET", "change-me"), same_site="lax"
        )
    ],
)
embed = KomboEmbed(end_user=current_end_user)
embed.install(app)
