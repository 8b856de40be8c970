"""``KOMBO_AUTH=request_user``: who is signed in is ``request.user``, by Starlette's authentication."""

from __future__ import annotations

import logging
import traceback

from starlette.requests import HTTPConnection

from kombo_embed.auth.claims import ClaimPaths, key_or_attribute_of, parse_end_user
from kombo_embed.errors import IdentityError
from kombo_embed.models import EndUser

logger = logging.getLogger("kombo_embed.auth")


class RequestUserResolver:
    """Reads the end user from ``request.user``: from its keys where it is a mapping, else its attributes.

    Args:
        paths: Where in the user each part of the end user is.
    """

    def __init__(self, paths: ClaimPaths) -> None:
        self._paths = paths

    async def __call__(self, connection: HTTPConnection) -> EndUser | None:
        """The signed-in end user; None where ``request.user`` is not authenticated.

        Raises:
            IdentityError: There is no ``request.user`` at all, or it is not what the settings say.
        """
        try:
            return self._read(connection)
        except IdentityError as error:
            logger.error("identity.failed: %s", error)  # noqa: TRY400 - the message says it all
            raise
        except Exception as error:
            # A property of the host's own user failed. Its message may hold anything.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            cause = f"request.user raised {type(error).__name__} at {frame.filename}:{frame.lineno}"
            logger.error("identity.failed: %s", cause)  # noqa: TRY400 - a traceback may show values
            raise IdentityError(cause) from error

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
            # A method is always true, and nothing at all says nothing: neither lets anybody in.
            raise IdentityError("request.user.is_authenticated must be a bool, as in Starlette's BaseUser")
        if not authenticated:
            return None
        try:
            return parse_end_user(user, self._paths, step=key_or_attribute_of)
        except IdentityError as error:
            raise IdentityError(f"in request.user: {error}") from None
