"""``KOMBO_AUTH=bearer``: the end user is in a JWT that an OpenID issuer signed (RFC 6750)."""

from __future__ import annotations

import logging
import re
from typing import Any

from starlette.requests import HTTPConnection

from kombo_embed.auth.claims import AmbiguousClaim, ClaimPaths, parse_end_user
from kombo_embed.auth.jwks import IssuerKeys
from kombo_embed.auth.jwt import TokenRefused, TokenVerifier, UnverifiedToken
from kombo_embed.errors import IdentityError, Unauthenticated
from kombo_embed.models import EndUser

logger = logging.getLogger("kombo_embed.auth")

HEADER_MAX_LENGTH = 8 * 1024  # characters of the whole Authorization header
BEARER = re.compile(r"(?i:bearer) +([\x21-\x7e]+)")
# RFC 6750, 3: no error code for a request without a token.
NO_TOKEN = "Bearer"  # noqa: S105 - the name of a scheme
INVALID_TOKEN = 'Bearer error="invalid_token"'  # noqa: S105 - as above


class BearerResolver:
    """Reads the end user from the token in the ``Authorization`` header."""

    def __init__(self, verifier: TokenVerifier, *, keys: IssuerKeys, paths: ClaimPaths) -> None:
        self._verifier = verifier
        self._keys = keys
        self._paths = paths

    async def __call__(self, connection: HTTPConnection) -> EndUser | None:
        """Return the end user that the token names; raise `IdentityUnavailable` without the issuer's keys.

        Raises `Unauthenticated` without a valid token. Only the log has the reason, so that a response
        reveals nothing; it never has any part of the token. Raises `IdentityError` for a valid token that
        names several organizations: signing in again would not help.
        """
        headers = connection.scope["headers"]
        credentials = [value.decode("latin-1").strip() for name, value in headers if name == b"authorization"]
        if not any(value[: len(NO_TOKEN)].lower() == "bearer" for value in credentials):
            logger.info("bearer.missing")
            raise Unauthenticated(challenge=NO_TOKEN)
        try:
            return parse_end_user(await self._verified_claims(credentials), self._paths)
        except TokenRefused as refusal:
            logger.info("bearer.rejected", extra={"reason": refusal.reason})
        except AmbiguousClaim as error:
            logger.error("identity.failed", extra={"reason": str(error)})  # noqa: TRY400 - a traceback adds nothing
            raise IdentityError(str(error)) from None
        except IdentityError as error:
            # The token is input from outside, so an incomplete identity is not a bug of the host's.
            logger.info("bearer.rejected", extra={"reason": "wrong_identity", "error": str(error)})
        raise Unauthenticated(challenge=INVALID_TOKEN)

    async def _verified_claims(self, credentials: list[str]) -> dict[str, Any]:
        if len(credentials) != 1:
            raise TokenRefused("several_headers")
        if len(credentials[0]) > HEADER_MAX_LENGTH:
            raise TokenRefused("too_long")
        match = BEARER.fullmatch(credentials[0])
        if match is None:
            raise TokenRefused("malformed")
        return await self._verify(self._verifier.parse(match[1]))

    async def _verify(self, token: UnverifiedToken) -> dict[str, Any]:
        try:
            return self._verifier.verify(token, await self._keys.find(token.key_id))
        except TokenRefused as refusal:
            if token.key_id is not None or refusal.reason not in {"wrong_signature", "unknown_key"}:
                raise
            # Without a key id, a failed signature is the only sign of a new key.
            keys = await self._keys.find_refreshed()
            if keys is None:
                raise
        return self._verifier.verify(token, keys)
