"""The login that every compared app shares: Starlette's SessionMiddleware, and a look into the session."""

from __future__ import annotations

import os

from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection

from kombo_embed import EndUser


def session_middleware() -> Middleware:
    """The middleware, with the secret that the benchmarks' cookies are signed with."""
    return Middleware(SessionMiddleware, secret_key=os.environ["BENCH_SESSION_SECRET"])


def signed_in(connection: HTTPConnection) -> dict[str, str] | None:
    """The session's user mapping; None where nobody is signed in."""
    user: dict[str, str] | None = connection.session.get("user")
    return user


def end_user(connection: HTTPConnection) -> EndUser | None:
    """The callable that a host gives to kombo-embed."""
    user = signed_in(connection)
    if user is None:
        return None
    return EndUser(
        email=user["email"],
        organization_name=user["organization_name"],
        origin_id=user["organization_id"],
    )
