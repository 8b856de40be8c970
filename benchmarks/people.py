"""Who asks: made-up end users, signed in the same way wherever sessions are compared."""

from __future__ import annotations

import base64
import json

import itsdangerous

SESSION_SECRET = "made-up, and the same for every app"  # noqa: S105 - it protects nothing
SESSION_COOKIE = "session"


def person(number: int) -> dict[str, str]:
    """The session entry of one end user."""
    return {
        "email": f"person-{number}@customer-{number}.example",
        "organization_name": f"Customer {number}",
        "organization_id": f"org_{number:09}",
    }


def session_cookie(number: int) -> str:
    """The cookie with which Starlette's SessionMiddleware lets this end user in."""
    entries = base64.b64encode(json.dumps({"user": person(number)}).encode())
    return itsdangerous.TimestampSigner(SESSION_SECRET).sign(entries).decode()
