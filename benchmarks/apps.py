"""kombo-embed as hosts use it, and routes that answer a constant or call Kombo's SDK.

Each function creates the app of a process of its own, so it imports only what that app needs.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.requests import LINKS, SESSION_SECRET
from kombo_embed import EndUser, KomboEmbed, KomboEmbedMiddleware

CONSTANT = {"link": "https://connect.kombo.dev/?token=constant", "expires_at": "2026-11-22T12:00:00Z"}
SESSION = Middleware(SessionMiddleware, secret_key=SESSION_SECRET)
Answer = Callable[[dict[str, str]], Awaitable[dict[str, str]]]


def require_user(connection: HTTPConnection) -> dict[str, str]:
    """Return the session's user mapping, or answer 401."""
    user: dict[str, str] | None = connection.session.get("user")
    if user is None:
        raise HTTPException(401)
    return user


def current_end_user(connection: HTTPConnection) -> EndUser:
    """Return the signed-in end user, as a host does for kombo-embed."""
    user = require_user(connection)
    return EndUser(user["email"], user["organization_name"], user["organization_id"])


def create_link_route(answer: Answer, start: Callable[[], Awaitable[None]] | None = None) -> Starlette:
    """Return a Starlette app with one route behind the session login."""

    async def links(request: Request) -> Response:
        return JSONResponse(await answer(require_user(request)))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        if start is not None:
            await start()
        yield

    return Starlette(routes=[Route(LINKS, links, methods=["POST"])], middleware=[SESSION], lifespan=lifespan)


def mounted() -> Starlette:
    """Return kombo-embed as ``install`` mounts it, behind a session login."""
    app = Starlette(middleware=[SESSION])
    KomboEmbed(end_user=current_end_user).install(app)
    return app


def middleware() -> Starlette:
    """Return kombo-embed as middleware with a path, behind a session login."""
    embed = KomboEmbed(end_user=current_end_user)
    return Starlette(middleware=[SESSION, Middleware(KomboEmbedMiddleware, embed=embed, path="/kombo")])


def bearer() -> Starlette:
    """Return kombo-embed, mounted, with the login that ``KOMBO_AUTH`` chooses."""
    app = Starlette()
    KomboEmbed().install(app)
    return app


def constant() -> Starlette:
    """Return a route behind the session login that answers a constant: the least that a route can do."""

    async def answer(_: dict[str, str]) -> dict[str, str]:
        return CONSTANT

    return create_link_route(answer)


def constant_behind_joserfc() -> Starlette:
    """Return the constant route behind joserfc alone: signature, issuer, audience and times of a token."""
    from joserfc import jwt  # noqa: PLC0415 - see the module's docstring
    from joserfc.jwk import KeySet  # noqa: PLC0415 - as above

    keys = KeySet.import_key_set(json.loads(os.environ["BENCH_KEY_SET"]))
    claims = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": os.environ["KOMBO_OIDC_ISSUER"]},
        aud={"essential": True, "value": os.environ["KOMBO_OIDC_AUDIENCE"]},
        exp={"essential": True},
    )

    async def links(request: Request) -> Response:
        encoded = request.headers["authorization"].removeprefix("Bearer ")
        claims.validate(jwt.decode(encoded, keys, algorithms=["RS256"]).claims)
        return JSONResponse(CONSTANT)

    return Starlette(routes=[Route(LINKS, links, methods=["POST"])])


def sdk() -> Starlette:
    """Return a route that calls Kombo's SDK on every request, with one client for the life of the app."""
    import httpx  # noqa: PLC0415 - see the module's docstring
    from kombo import Kombo  # noqa: PLC0415 - as above

    client = httpx.AsyncClient(trust_env=False, follow_redirects=True)
    url, key = os.environ["KOMBO_API_URL"], os.environ["KOMBO_API_KEY"]
    kombo = Kombo(api_key=key, server_url=url, async_client=client)

    async def answer(user: dict[str, str]) -> dict[str, str]:
        minted = await kombo.connect.create_connection_link_async(
            end_user_email=user["email"],
            end_user_organization_name=user["organization_name"],
            end_user_origin_id=user["organization_id"],
            integration_category="HRIS",
            language="en",
            link_type="EMBEDDED",
        )
        return {"link": minted.data.link}

    return create_link_route(answer)
