"""Verifies signed JWTs. No I/O.

A token is a JWT in compact form (RFC 7519, RFC 7515). As RFC 8725 requires, its algorithms, keys, issuer and
audience come from the settings and never from the token.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from joserfc import jws
from joserfc.errors import (
    ClaimError,
    ExpiredTokenError,
    InvalidKeyCurveError,
    KeyParameterError,
    UnsupportedAlgorithmError,
)
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import Key
from joserfc.jwt import JWTClaimsRegistry
from joserfc.registry import HeaderParameter
from joserfc.util import urlsafe_b64decode

from kombo_embed.ports import Clock

LEEWAY_SECONDS = 60  # how far the issuer's clock and ours may differ
TOKEN_MAX_LENGTH = 8 * 1024
TYPES = {"jwt", "at+jwt", "application/jwt", "application/at+jwt"}  # RFC 7519, 5.1; RFC 9068, 2.1
# A token must not choose its key (jwk, jku, x5u) or its own parsing (crit, b64: RFC 7515, 4.1.11; RFC 7797).
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
    signed: jws.CompactSignature = field(repr=False)
    claims: dict[str, Any] = field(repr=False)


class TokenRegistry(jws.JWSRegistry):
    """joserfc's rules for signed tokens, limited to the allowed algorithms and headers."""

    def __init__(self, algorithms: Iterable[str]) -> None:
        super().__init__(
            header_registry={name: HeaderParameter("refused", "none") for name in FORBIDDEN_HEADERS},
            algorithms=frozenset(algorithms),
            strict_check_header=False,  # RFC 7515, 4: unknown parameters are ignored
        )

    def get_alg(self, name: str) -> JWSAlgModel:
        """Return the algorithm if it is allowed, without joserfc's warning about the older name ``EdDSA``."""
        if not self.allowed or name not in self.allowed:
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


class TokenVerifier:
    """Verifies that the issuer signed a token for us, and that it is valid now; raises `TokenRefused`.

    ``iss`` must be exactly the issuer; ``aud`` must be or contain one of the audiences, and must be missing
    if there are none. ``azp``, or ``client_id`` in a token without it, must be one of the authorized parties,
    if there are any.
    """

    def __init__(
        self,
        *,
        issuer: str,
        audiences: Collection[str],
        authorized_parties: Collection[str] = (),
        algorithms: Iterable[str],
        clock: Clock,
    ) -> None:
        if not audiences and not authorized_parties:
            raise ValueError("without both, tokens for everyone would be accepted")
        names = set(algorithms)
        if "EdDSA" in names:
            names.add("Ed25519")  # its newer name (RFC 9864, 2.2)
        self._algorithms = frozenset(names)
        self._registry = TokenRegistry(names)
        self._has_audiences = bool(audiences)
        self._authorized_parties = frozenset(authorized_parties)
        self._claims_registry = JWTClaimsRegistry(
            now=lambda: int(clock.time()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": issuer},
            aud={"essential": self._has_audiences, "values": list(audiences)},
            exp={"essential": True},
        )

    def parse(self, text: str) -> UnverifiedToken:
        """Parse a token, and refuse it for everything that can be checked without a key."""
        if len(text) > TOKEN_MAX_LENGTH:
            raise TokenRefused("too_long")
        try:
            header_part, claims_part, signature_part = text.encode().split(b".")
            header, claims = _decode_object(header_part), _decode_object(claims_part)
            urlsafe_b64decode(signature_part)
        except (ValueError, RecursionError):
            raise TokenRefused("malformed") from None
        self._check_header(header)
        # `jwt.decode` would parse it all again for each key: 13 % of the CPU of a request for a cached link
        # (RS256, in-process: 238 us instead of 208).
        signed = jws.CompactSignature(header, claims_part)
        signed.segments = {"header": header_part, "payload": claims_part, "signature": signature_part}
        return UnverifiedToken(header.get("kid"), signed, claims)

    def verify(self, token: UnverifiedToken, keys: Iterable[Key]) -> dict[str, Any]:
        """Return the claims of a token that one of these keys signed; keys that do not fit it are skipped."""
        reason = "unknown_key"
        for key in keys:
            try:
                is_signed = jws.validate_compact(token.signed, key, registry=self._registry)
            except (KeyParameterError, InvalidKeyCurveError):
                continue  # a key for another algorithm or use
            except Exception:  # noqa: BLE001 - whatever the libraries raise: the token may come from anyone
                is_signed = False
            if is_signed:
                self._verify_claims(token.claims)
                return token.claims
            reason = "wrong_signature"
        raise TokenRefused(reason)

    def _check_header(self, header: dict[str, Any]) -> None:
        if not FORBIDDEN_HEADERS.isdisjoint(header):
            raise TokenRefused("forbidden_header")
        algorithm, key_id, kind = header.get("alg"), header.get("kid", ""), header.get("typ", "JWT")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise TokenRefused("wrong_algorithm")
        if not isinstance(kind, str) or kind.lower() not in TYPES:
            raise TokenRefused("wrong_type")
        if not isinstance(key_id, str):
            raise TokenRefused("malformed")

    def _verify_claims(self, claims: dict[str, Any]) -> None:
        if any(name in claims and not _is_time(claims[name]) for name in ("exp", "nbf", "iat")):
            raise TokenRefused("wrong_time")
        try:
            self._claims_registry.validate(claims)
        except ExpiredTokenError:
            raise TokenRefused("expired") from None
        except ClaimError as error:
            raise TokenRefused(REASONS_BY_CLAIM.get(str(error.claim), "wrong_claims")) from None
        if "aud" in claims and not self._has_audiences:
            raise TokenRefused("wrong_audience")  # it is for someone, and nothing says that we are that one
        self._verify_authorized_party(claims)

    def _verify_authorized_party(self, claims: dict[str, Any]) -> None:
        party = claims["azp"] if "azp" in claims else claims.get("client_id")
        if self._authorized_parties and (not isinstance(party, str) or party not in self._authorized_parties):
            raise TokenRefused("wrong_authorized_party")


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
