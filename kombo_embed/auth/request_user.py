"""``KOMBO_AUTH=request_user``: the end user is ``request.user``, from Starlette's authentication."""

from __future__ import annotations

import logging
import traceback

from starlette.requests import HTTPConnection

from kombo_embed.auth.claims import AmbiguousClaim, ClaimPaths, key_or_attribute_of, parse_end_user
from kombo_embed.errors import IdentityError
from kombo_embed.models import EndUser

logger = logging.getLogger("kombo_embed.auth")


class RequestUserResolver:
    """Reads the end user from ``request.user``: its keys if it is a mapping, else its attributes."""

    def __init__(self, paths: ClaimPaths) -> None:
        self._paths = paths

    async def __call__(self, connection: HTTPConnection) -> EndUser | None:
        """Return the signed-in end user; None if ``request.user`` is not authenticated.

        Raises `IdentityError` if there is no ``request.user`` at all, or it does not match the settings.
        """
        try:
            return self._read(connection)
        except IdentityError as error:
            logger.error("identity.failed", extra={"reason": str(error)})  # noqa: TRY400 - a traceback adds nothing
            raise
        except Exception as error:
            # A property of the host's own user failed. The message may contain anything.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"request.user raised {type(error).__name__} at {frame.filename}:{frame.lineno}"
            logger.error("identity.failed", extra={"reason": reason})  # noqa: TRY400 - a traceback may contain values
            raise IdentityError(reason) from error

    def _read(self, connection: HTTPConnection) -> EndUser | None:
        if "user" not in connection.scope:
            raise IdentityError(
                f"{self._paths.prefix}AUTH is request_user, but there is no request.user here: run "
                "Starlette's AuthenticationMiddleware around kombo-embed "
                "(app.add_middleware(AuthenticationMiddleware, backend=...))"
            )
        user = connection.scope["user"]
        if user is None:
            return None
        authenticated = getattr(user, "is_authenticated", None)
        if not isinstance(authenticated, bool):
            # A method would always be true, and a missing attribute decides nothing.
            raise IdentityError("request.user.is_authenticated must be a bool, as in Starlette's BaseUser")
        if not authenticated:
            return None
        try:
            return parse_end_user(user, self._paths, step=key_or_attribute_of)
        except (AmbiguousClaim, IdentityError) as error:
            raise IdentityError(f"in request.user: {error}") from None
