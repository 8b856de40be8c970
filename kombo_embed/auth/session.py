"""``KOMBO_AUTH=session``: the end user is in the session of Starlette's ``SessionMiddleware``."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from starlette.requests import HTTPConnection

from kombo_embed.auth.claims import AmbiguousClaim, ClaimPaths, parse_end_user
from kombo_embed.errors import IdentityError
from kombo_embed.models import EndUser

logger = logging.getLogger("kombo_embed.auth")


class SessionResolver:
    """Reads the end user from one entry of the session, a mapping."""

    def __init__(self, key: str, paths: ClaimPaths) -> None:
        self._key = key
        self._paths = paths

    async def __call__(self, connection: HTTPConnection) -> EndUser | None:
        """Return the signed-in end user; None if the session has no such entry, or an empty one.

        ``SessionMiddleware`` turns a forged, truncated or expired cookie into an empty session. Raises
        `IdentityError` if there is no session at all, or the entry does not match the settings.
        """
        try:
            return self._read(connection)
        except IdentityError as error:
            logger.error("identity.failed", extra={"reason": str(error)})  # noqa: TRY400 - a traceback adds nothing
            raise

    def _read(self, connection: HTTPConnection) -> EndUser | None:
        session = connection.session if "session" in connection.scope else None
        if not isinstance(session, Mapping):
            raise IdentityError(
                f"{self._paths.prefix}AUTH is session, but there is no session here: run Starlette's "
                "SessionMiddleware around kombo-embed (app.add_middleware(SessionMiddleware, secret_key=...))"
            )
        entry = session.get(self._key)
        if not entry:
            return None
        where = f"the session's {self._key!r} ({self._paths.prefix}SESSION_KEY)"
        if not isinstance(entry, Mapping):
            raise IdentityError(f"{where} must be a mapping, not {type(entry).__name__}")
        try:
            return parse_end_user(entry, self._paths)
        except (AmbiguousClaim, IdentityError) as error:
            raise IdentityError(f"in {where}: {error}") from None
