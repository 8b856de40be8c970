"""Reads and verifies signed tokens. Pure: no network, no clock of its own.

A token is a JWT in compact form (RFC 7519, RFC 7515), judged as RFC 8725 asks: the algorithm, the keys, the
issuer and the audience come from the settings, never from the token.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from joserfc.errors import ClaimError, ExpiredTokenError, JoseError
from joserfc.jwa import JWS_ALGORITHMS, JWSAlgModel
from joserfc.jwk import Key
from joserfc.jwt import JWTClaimsRegistry
from joserfc.util import urlsafe_b64decode

LEEWAY = 60  # seconds that the issuer's clock and ours may differ by
TYPES = {"jwt", "at+jwt", "application/jwt", "application/at+jwt"}  # RFC 7519, 5.1; RFC 9068, 2.1
# A token does not choose its key (jwk, jku, x5u), nor how it is read (crit, b64: RFC 7515, 4.1.11; RFC 7797).
FORBIDDEN = {"jwk", "jku", "x5u", "crit", "b64"}


class TokenRefused(Exception):
    """A token is not believed. ``reason`` is a stable word for the log, and holds nothing of the token."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A token in parts, of which nothing is believed yet."""

    algorithm: str
    key_id: str | None
    signed: bytes = field(repr=False)
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)


class TokenVerifier:
    """Says whether a token was made by the issuer, for us, and is valid now.

    Args:
        issuer: What ``iss`` must be, exactly.
        audience: What ``aud`` must be or contain.
        algorithms: The signature algorithms to accept. ``EdDSA`` includes ``Ed25519``, its newer name.
    """

    def __init__(self, *, issuer: str, audience: str, algorithms: Iterable[str]) -> None:
        names = set(algorithms)
        if "EdDSA" in names:
            names.add("Ed25519")  # RFC 9864, 2.2
        self._algorithms: dict[str, JWSAlgModel] = {
            model.name: model for model in JWS_ALGORITHMS if model.name in names
        }
        self._issuer = issuer
        self._audience = audience

    def read(self, text: str) -> UnverifiedToken:
        """Take a token apart, and refuse it for all that can be told without a key.

        Raises:
            TokenRefused: It is not of the shape, the type or the algorithm that is accepted here.
        """
        parts = text.split(".")
        if len(parts) != 3:  # noqa: PLR2004 - header, payload and signature
            raise TokenRefused("malformed")
        header_part, payload_part, signature_part = (part.encode() for part in parts)
        header = _json_object(_decoded(header_part))
        if not FORBIDDEN.isdisjoint(header):
            raise TokenRefused("forbidden_header")
        algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise TokenRefused("wrong_algorithm")
        if not isinstance(kind, str) or kind.lower() not in TYPES:
            raise TokenRefused("wrong_type")
        if "kid" in header and not isinstance(key_id, str):
            raise TokenRefused("malformed")
        return UnverifiedToken(
            algorithm=algorithm,
            key_id=key_id,
            signed=header_part + b"." + payload_part,
            payload=_decoded(payload_part),
            signature=_decoded(signature_part),
        )

    def verify(self, token: UnverifiedToken, keys: Iterable[Key], *, now: float) -> dict[str, Any]:
        """The claims of a token that one of these keys signed.

        Args:
            token: The token, read.
            keys: The issuer's keys that the token may mean; those that do not fit its algorithm are left out.
            now: Seconds since the epoch.

        Raises:
            TokenRefused: None of the keys signed it, it is for somebody else, or not for now.
        """
        model = self._algorithms[token.algorithm]
        fitting = [key for key in keys if _fits(key, model)]
        if not fitting:
            raise TokenRefused("unknown_key")
        if not any(_signed(token, key, model) for key in fitting):
            raise TokenRefused("wrong_signature")
        claims = _json_object(token.payload)
        self._verify_claims(claims, now)
        return claims

    def _verify_claims(self, claims: dict[str, Any], now: float) -> None:
        if any(name in claims and not _is_a_time(claims[name]) for name in ("exp", "nbf", "iat")):
            raise TokenRefused("wrong_time")
        rules = JWTClaimsRegistry(
            now=int(now),
            leeway=LEEWAY,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._audience},
            exp={"essential": True},
        )
        try:
            rules.validate(claims)
        except ExpiredTokenError:
            raise TokenRefused("expired") from None
        except ClaimError as error:
            reasons = {"iss": "wrong_issuer", "aud": "wrong_audience", "nbf": "not_yet", "iat": "not_yet"}
            raise TokenRefused(reasons.get(str(error.claim), "wrong_claims")) from None


def _decoded(part: bytes) -> bytes:
    try:
        return urlsafe_b64decode(part)  # strict: no padding, no other alphabet, no bits left over
    except (ValueError, TypeError):
        raise TokenRefused("malformed") from None


def _json_object(text: bytes) -> dict[str, Any]:
    try:
        value = _DECODER.decode(text.decode())
    except (ValueError, RecursionError):
        raise TokenRefused("malformed") from None
    if not isinstance(value, dict):
        raise TokenRefused("malformed")
    return value


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Of a name that stands twice, each reader believes another value (RFC 8259, 4).
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice")
    return members


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unambiguous, parse_constant=_no_number)


def _is_a_time(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _fits(key: Key, model: JWSAlgModel) -> bool:
    try:
        model.check_key(key)
    except JoseError:
        return False
    return True


def _signed(token: UnverifiedToken, key: Key, model: JWSAlgModel) -> bool:
    try:
        return model.verify(token.signed, token.signature, key)
    except (JoseError, ValueError):
        return False
