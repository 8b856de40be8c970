"""Verifies signed JWTs. Pure: no network, no clock of its own.

A token is a JWT in compact form (RFC 7519, RFC 7515). As RFC 8725 requires, its algorithms, keys, issuer and
audience come from the settings and never from the token.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from joserfc import jwt
from joserfc.errors import (
    ClaimError,
    ExpiredTokenError,
    InvalidKeyCurveError,
    JoseError,
    KeyParameterError,
)
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64decode

LEEWAY_SECONDS = 60  # how far the issuer's clock and ours may differ
TOKEN_MAX_LENGTH = 8 * 1024
TYPES = {"jwt", "at+jwt", "application/jwt", "application/at+jwt"}  # RFC 7519, 5.1; RFC 9068, 2.1
# A token must not choose its key (jwk, jku, x5u) or how it is parsed (crit, b64: RFC 7515, 4.1.11; RFC 7797).
FORBIDDEN_HEADERS = {"jwk", "jku", "x5u", "crit", "b64"}
REASONS_BY_CLAIM = {"iss": "wrong_issuer", "aud": "wrong_audience", "nbf": "not_yet", "iat": "not_yet"}


class TokenRefused(Exception):
    """A token is not valid. ``reason`` is a stable word for the log; it contains nothing of the token."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A well-formed token. Nothing in it is verified; ``key_id`` only selects keys to try."""

    key_id: str | None
    text: str = field(repr=False)


class TokenRegistry(JWSRegistry):
    """joserfc's rules for tokens, made strict: accepts few algorithms, and no header that chooses a key."""

    # joserfc's own limits would refuse headers with a certificate, and signatures of long RSA keys.
    max_header_length = TOKEN_MAX_LENGTH
    max_signature_length = TOKEN_MAX_LENGTH

    def __init__(self, algorithms: Iterable[str]) -> None:
        self._names = frozenset(algorithms)
        # RFC 7515, 4: unknown parameters are ignored.
        super().__init__(algorithms=self._names, strict_check_header=False)

    def get_alg(self, name: str) -> JWSAlgModel:
        """Return the algorithm if it is allowed, without joserfc's warning about the older name ``EdDSA``."""
        if name not in self._names:
            raise TokenRefused("wrong_algorithm")
        return self.algorithms[name]

    def check_header(self, header: dict[str, Any]) -> None:
        """Refuse headers that choose a key or a way to parse, and tokens of another type or algorithm."""
        if not FORBIDDEN_HEADERS.isdisjoint(header):
            raise TokenRefused("forbidden_header")
        try:
            super().check_header(header)
        except JoseError:
            raise TokenRefused("malformed") from None
        self.get_alg(header["alg"])
        if header.get("typ", "JWT").lower() not in TYPES:
            raise TokenRefused("wrong_type")


class TokenVerifier:
    """Verifies that the issuer signed a token for us, and that it is valid now.

    Args:
        issuer: What ``iss`` must be, exactly.
        audience: What ``aud`` must be or contain.
        algorithms: The signature algorithms to accept. ``EdDSA`` includes ``Ed25519``, its newer name.
    """

    def __init__(self, *, issuer: str, audience: str, algorithms: Iterable[str]) -> None:
        names = set(algorithms)
        if "EdDSA" in names:
            names.add("Ed25519")  # RFC 9864, 2.2
        self._registry = TokenRegistry(names)
        self._issuer = issuer
        self._audience = audience

    def parse(self, text: str) -> UnverifiedToken:
        """Parse a token, and refuse it for everything that can be checked without a key.

        Raises:
            TokenRefused: Its form, type or algorithm is not accepted.
        """
        if len(text) > TOKEN_MAX_LENGTH:
            raise TokenRefused("too_long")
        try:
            header_part, claims_part, signature_part = text.encode().split(b".")
            header = _decode_object(header_part)
            _decode_object(claims_part)
            urlsafe_b64decode(signature_part)
        except (ValueError, RecursionError):
            raise TokenRefused("malformed") from None
        self._registry.check_header(header)
        return UnverifiedToken(header.get("kid"), text)

    def verify(self, token: UnverifiedToken, keys: Iterable[Key], *, now: float) -> dict[str, Any]:
        """Return the claims of a token that one of these keys signed.

        Args:
            token: The token.
            keys: The issuer's keys to try; those that do not fit the token's algorithm are skipped.
            now: Seconds since the epoch.

        Raises:
            TokenRefused: None of the keys signed it, or its issuer, audience or times are wrong.
        """
        reason = "unknown_key"
        for key in keys:
            try:
                claims = jwt.decode(token.text, key, registry=self._registry).claims
            except (KeyParameterError, InvalidKeyCurveError):
                continue  # a key for another algorithm or use
            except Exception:  # noqa: BLE001 - whatever the libraries raise: the input is anyone's, the key the issuer's
                reason = "wrong_signature"
            else:
                self._verify_claims(claims, now)
                return claims
        raise TokenRefused(reason)

    def _verify_claims(self, claims: dict[str, Any], now: float) -> None:
        if any(name in claims and not _is_time(claims[name]) for name in ("exp", "nbf", "iat")):
            raise TokenRefused("wrong_time")
        rules = jwt.JWTClaimsRegistry(
            now=int(now),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._audience},
            exp={"essential": True},
        )
        try:
            rules.validate(claims)
        except ExpiredTokenError:
            raise TokenRefused("expired") from None
        except ClaimError as error:
            raise TokenRefused(REASONS_BY_CLAIM.get(str(error.claim), "wrong_claims")) from None


def _decode_object(part: bytes) -> dict[str, Any]:
    value = _DECODER.decode(urlsafe_b64decode(part).decode())
    if not isinstance(value, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 - the input is wrong, not a type of ours
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name is not unique")
    return members


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


# Refuses what parsers disagree about: duplicate names (RFC 8259, 4), NaN and Infinity.
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)


def _is_time(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
