"""A Starlette app whose pages are files: the button is a custom element, and nothing is built."""

from __future__ import annotations

import secrets
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from kombo_embed import EndUser, KomboEmbed

# In your app, a database.
USERS = {"ada": {"email": "ada@northwind.example", "company": "Northwind", "company_id": "org_1"}}


async def current_end_user(connection: HTTPConnection) -> EndUser | None:
    """Return the signed-in end user. kombo-embed needs nothing else from your app."""
    user = USERS.get(connection.session.get("user", ""))
    if user is None:
        return None
    return EndUser(email=user["email"], organization_name=user["company"], origin_id=user["company_id"])


async def sign_in(request: Request) -> RedirectResponse:
    """Sign Ada in. Your app requires a password."""
    request.session["user"] = "ada"
    return RedirectResponse("/settings.html", status_code=303)


app = Starlette(
    routes=[
        Route("/sign-in", sign_in, methods=["POST"]),
        Mount("/", StaticFiles(directory=Path(__file__).parent / "pages", html=True)),
    ],
    middleware=[Middleware(SessionMiddleware, secret_key=secrets.token_urlsafe(), same_site="lax")],
)
embed = KomboEmbed(end_user=current_end_user)
embed.install(app)
