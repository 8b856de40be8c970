"""The API of a single-page app on another origin. Its login is a bearer token, not a cookie."""

from __future__ import annotations

import os
import secrets
import time

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from kombo_embed import EndUser, KomboEmbed

# In your app, a real login. These tokens are valid for a minute, so that the page has to renew them.
LIFETIME_SECONDS = 60
ADA = EndUser(email="ada@northwind.example", organization_name="Northwind", origin_id="org_1")
tokens: dict[str, float] = {}


async def current_end_user(connection: HTTPConnection) -> EndUser | None:
    """Return the signed-in end user. Your app verifies a signature."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or tokens.get(token, 0) < time.monotonic():
        return None
    return ADA


async def sign_in(_request: Request) -> JSONResponse:
    """Sign Ada in. Your app requires a password."""
    token = secrets.token_urlsafe()
    tokens[token] = time.monotonic() + LIFETIME_SECONDS
    return JSONResponse({"token": token, "expires_in": LIFETIME_SECONDS})


# kombo-embed allows KOMBO_ALLOWED_ORIGINS by itself; this is for the example's own route.
pages = Middleware(CORSMiddleware, allow_origins=[os.environ.get("KOMBO_ALLOWED_ORIGINS", "")])
app = Starlette(routes=[Route("/sign-in", sign_in, methods=["POST"], middleware=[pages])])
embed = KomboEmbed(end_user=current_end_user)
embed.install(app)
