"""``KOMBO_AUTH=bearer``: who is signed in stands in a token that an OpenID issuer signed (RFC 6750)."""

from __future__ import annotations

import logging
import re
from typing import Any

from starlette.requests import HTTPConnection

from kombo_embed.auth.believed import BelievedTokens
from kombo_embed.auth.claims import ClaimPaths, parse_end_user
from kombo_embed.auth.jwks import IssuerKeys
from kombo_embed.auth.jwt import LEEWAY, TokenRefused, TokenVerifier, UnverifiedToken
from kombo_embed.errors import IdentityError, Unauthenticated
from kombo_embed.models import EndUser
from kombo_embed.ports import Clock

logger = logging.getLogger("kombo_embed.auth")

HEADER_MAX_LENGTH = 8 * 1024  # characters of the whole Authorization header
BEARER = re.compile(r"bearer +([\x21-\x7e]+)", re.IGNORECASE)
# RFC 6750, 3: no error where no token was sent.
NO_TOKEN = "Bearer"  # noqa: S105 - the name of a scheme
INVALID_TOKEN = 'Bearer error="invalid_token"'  # noqa: S105 - as above


class BearerResolver:
    """Reads the end user from the token in the ``Authorization`` header.

    Args:
        verifier: Judges tokens.
        keys: The issuer's keys.
        paths: Where in a token's claims each part of the end user is.
        clock: What tokens expire by.
    """

    def __init__(self, verifier: TokenVerifier, *, keys: IssuerKeys, paths: ClaimPaths, clock: Clock) -> None:
        self._verifier = verifier
        self._keys = keys
        self._paths = paths
        self._clock = clock
        self._believed = BelievedTokens()

    async def __call__(self, connection: HTTPConnection) -> EndUser | None:
        """The end user that the token names.

        Raises:
            Unauthenticated: There is no token, or it is not believed. Why is in the log alone, as the event's
                name: nobody learns from the answer, and nothing of a token is logged.
            IdentityUnavailable: The issuer's keys are not known yet, and cannot be had.
        """
        sent = [value for name, value in connection.scope["headers"] if name == b"authorization"]
        if len(sent) == 1:
            known = self._believed.find(sent[0], keys=self._keys.current(), now=self._clock.time())
            if known is not None:
                return known
        credentials = [value.decode("latin-1").strip() for value in sent]
        if not any(value[: len(NO_TOKEN)].lower() == "bearer" for value in credentials):
            logger.info("bearer.missing")
            raise Unauthenticated(challenge=NO_TOKEN)
        try:
            end_user, until = await self._read(credentials)
        except TokenRefused as refusal:
            logger.info("bearer.%s", refusal.reason)
        except IdentityError as error:
            # A token comes from outside, so it is not believed, rather than our fault.
            logger.info("bearer.wrong_identity: %s", error)
        else:
            now = self._clock.time()
            self._believed.keep(sent[0], end_user, keys=self._keys.current(), since=now, until=until)
            return end_user
        raise Unauthenticated(challenge=INVALID_TOKEN)

    async def _read(self, credentials: list[str]) -> tuple[EndUser, float]:
        if len(credentials) != 1:
            raise TokenRefused("several_headers")
        if len(credentials[0]) > HEADER_MAX_LENGTH:
            raise TokenRefused("too_long")
        match = BEARER.fullmatch(credentials[0])
        if match is None:
            raise TokenRefused("malformed")
        claims = await self._verified(self._verifier.read(match[1]))
        return parse_end_user(claims, self._paths), claims["exp"] + LEEWAY

    async def _verified(self, token: UnverifiedToken) -> dict[str, Any]:
        now = self._clock.time()
        try:
            return self._verifier.verify(token, await self._keys.find(token.key_id), now=now)
        except TokenRefused as refusal:
            if token.key_id is not None or refusal.reason not in {"wrong_signature", "unknown_key"}:
                raise
            # Without a key id nothing else tells of a new key.
            keys = await self._keys.find_anew()
            if keys is None:
                raise
        return self._verifier.verify(token, keys, now=now)
