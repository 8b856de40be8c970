"""Who may do what: the host's ``authorize``, and the tokens of forms."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Literal

from starlette.requests import Request
from starlette.types import Scope

from kombo_embed.auth import callable  # noqa: A004 - the module of the host's callables
from kombo_embed.console.desk import Desk
from kombo_embed.errors import Forbidden

Action = Literal["read", "link", "replay"]
Authorize = Callable[[Request, Action], Awaitable[str | None] | str | None]
TOKEN_SECONDS = 12 * 3600
ACTOR_MAX_LENGTH = 255


async def find_actor(authorize: Authorize, scope: Scope, action: Action) -> str | None:
    """Return who makes the request if they may do this, else None; raise `IdentityError` for a host's bug.

    Starlette's ``HTTPException`` passes through. The body of the request is not for ``authorize``.
    """
    actor = await callable.call("authorize", authorize, Request(scope), action)
    if actor is None:
        return None
    if not isinstance(actor, str) or not actor.strip():
        raise callable.logged(f"authorize must return a name or None, not {type(actor).__name__}")
    return str.__str__(actor)[:ACTOR_MAX_LENGTH]


def sign_token(desk: Desk, actor: str) -> str:
    """Return a token for the forms of one person, valid for twelve hours."""
    until = int(desk.clock.time()) + TOKEN_SECONDS
    return f"{until}.{_signature(desk, actor, until)}"


def verify_token(desk: Desk, actor: str, token: str) -> None:
    """Raise `Forbidden` unless this is a valid token of this person."""
    until, _, signature = token.partition(".")
    if until.isascii() and until.isdecimal() and len(until) <= len(str(2**53)):
        is_signed = hmac.compare_digest(_signature(desk, actor, int(until)).encode(), signature.encode())
        if is_signed and desk.clock.time() < int(until):
            return
    raise Forbidden("This form is too old. Open the page again.")


def _signature(desk: Desk, actor: str, until: int) -> str:
    return hmac.new(desk.token_key, f"{until}.{actor}".encode(), hashlib.sha256).hexdigest()
