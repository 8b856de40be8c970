"""kombo-embed as hosts use it, routes that answer a constant or call Kombo's SDK, and a fake Kombo.

Each function creates the app of a process of its own, so it imports only what that app needs.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Lifespan

from benchmarks.requests import LINKS, SESSION_SECRET
from kombo_embed import EndUser, KomboEmbed

CONSTANT = {"link": "https://connect.kombo.dev/?token=constant", "expires_at": "2026-11-22T12:00:00Z"}
LINK = "https://connect.kombo.dev/?token={number:09}." + "x" * 656  # 700 bytes
SESSION = Middleware(SessionMiddleware, secret_key=SESSION_SECRET)
Answer = Callable[[dict[str, str]], Awaitable[dict[str, str]]]


def require_user(connection: HTTPConnection) -> dict[str, str]:
    """Return the session's user mapping, or answer 401."""
    user: dict[str, str] | None = connection.session.get("user")
    if user is None:
        raise HTTPException(401)
    return user


def to_end_user(user: dict[str, str]) -> EndUser:
    """Return the end user of a session's user mapping."""
    return EndUser(user["email"], user["organization_name"], user["organization_id"])


def link_payload(user: dict[str, str], category: str = "HRIS", language: str = "en") -> dict[str, Any]:
    """Return what Kombo must know to mint a link."""
    return {
        "end_user_email": user["email"],
        "end_user_organization_name": user["organization_name"],
        "end_user_origin_id": user["organization_id"],
        "integration_category": category,
        "language": language,
        "link_type": "EMBEDDED",
    }


def create_link_route(answer: Answer, lifespan: Lifespan[Starlette] | None = None) -> Starlette:
    """Return a Starlette app with one route behind the session login."""

    async def links(request: Request) -> Response:
        return JSONResponse(await answer(require_user(request)))

    return Starlette(routes=[Route(LINKS, links, methods=["POST"])], middleware=[SESSION], lifespan=lifespan)


def mounted() -> Starlette:
    """Return kombo-embed as ``install`` mounts it, behind a session or the login that KOMBO_AUTH chooses."""

    async def current_end_user(connection: HTTPConnection) -> EndUser | None:
        user = connection.session.get("user")
        return user and to_end_user(user)

    by_session = "KOMBO_AUTH" not in os.environ
    app = Starlette(middleware=[SESSION] if by_session else [])
    KomboEmbed(end_user=current_end_user if by_session else None).install(app)
    return app


def mounted_without_opentelemetry() -> Starlette:
    """Return `mounted` as if OpenTelemetry's API were not installed."""
    sys.modules["opentelemetry"] = None  # type: ignore[assignment] # an import of it fails
    return mounted()


def mounted_with_sdk() -> Starlette:
    """Return `mounted` with OpenTelemetry's SDK, which samples every request and exports nothing."""
    from opentelemetry import metrics, trace  # noqa: PLC0415 - see the module's docstring
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above

    trace.set_tracer_provider(TracerProvider())
    metrics.set_meter_provider(MeterProvider())
    return mounted()


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
        minted = await kombo.connect.create_connection_link_async(**link_payload(user))
        return {"link": minted.data.link}

    return create_link_route(answer)


def upstream() -> Starlette:
    """Return a Kombo that answers after the delay in its path, and counts its calls per run.

    Its paths: ``/<run>/<delay in ms>/v1/...``, ``/calls/<run>``, and ``/jwks`` of an issuer of tokens.
    """
    calls: Counter[str] = Counter()

    async def answer(request: Request) -> Response:
        match request.url.path.split("/"):
            case ["", "jwks"]:
                return Response(os.environ["BENCH_KEY_SET"])
            case ["", "calls", run]:
                return JSONResponse(calls[run])
            case ["", run, delay_ms, "v1", *what]:
                calls[run] += 1
                await asyncio.sleep(int(delay_ms) / 1000)
                return JSONResponse({"status": "success", "data": _data(what, calls.total())})
        return Response(status_code=404)

    return Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])


def _data(what: list[str], number: int) -> dict[str, object]:
    match what:
        case ["connect", "integration-by-token", token]:
            owner = {"end_user_origin_id": token.partition(".")[0], "setup_status": "INCOMPLETE"}
            return {"id": f"personio:{token}", "tool": "personio", **owner}
        case ["integrations", integration_id]:
            owner = {"origin_id": integration_id.removeprefix("personio:").partition(".")[0]}
            state = {"category": "HRIS", "status": "ACTIVE", "setup_status": "COMPLETED"}
            return {"id": integration_id, "tool": {"id": "personio"}, "end_user": owner, **state}
    return {"link": LINK.format(number=number)}
