"""Parses a JSON Web Key Set (RFC 7517), and says why a key in it cannot verify tokens. No I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from joserfc.jwk import JWKRegistry, Key
from joserfc.util import urlsafe_b64decode

RSA_BITS = range(2048, 16384 + 1)  # RFC 7518, 3.3; verification with a longer key blocks the event loop
# The members that make up a public key (RFC 7518, 6; RFC 8037, 2). All others, such as x5c, are not read.
PARTS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
CURVES = {"EC": {"P-256", "P-384", "P-521"}, "OKP": {"Ed25519", "Ed448"}}
ALGORITHMS = {
    "RSA": {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
    "EC": {"ES256", "ES384", "ES512"},
    "OKP": {"EdDSA", "Ed25519", "Ed448"},
}
PRIVATE_PARTS = {"d", "p", "q", "dp", "dq", "qi", "oth"}
KEY_ID_MAX_LENGTH = 128  # in logs


@dataclass(frozen=True, slots=True)
class SkippedKey:
    """A key that cannot verify tokens. ``reason`` is a stable word for the log."""

    key_id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys that can verify tokens, in order, and those that cannot."""

    keys: tuple[Key, ...]
    skipped: tuple[SkippedKey, ...] = ()


class _Unusable(Exception):
    pass


def parse_key_set(body: bytes) -> KeySet:
    """Parse a key set; a key that cannot be used affects no other. Raise `ValueError` if it is no key set."""
    try:
        members = json.loads(body)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("it is not a JSON Web Key Set") from None
    if not isinstance(members, list):
        raise ValueError("it is not a JSON Web Key Set")  # noqa: TRY004 - the input is wrong, not a type of ours
    parsed = [_parse_key(member) for member in members]
    return KeySet(
        keys=tuple(key for key in parsed if not isinstance(key, SkippedKey)),
        skipped=tuple(key for key in parsed if isinstance(key, SkippedKey)),
    )


def _parse_key(member: Any) -> Key | SkippedKey:  # noqa: ANN401 - JSON from the issuer
    if not isinstance(member, dict):
        return SkippedKey(None, "not_an_object")
    present = {name: value for name, value in member.items() if value is not None}
    try:
        return _import_key(present)
    except _Unusable as error:
        reason = str(error)
    except Exception:  # noqa: BLE001 - one unusable key, whatever is wrong with it, must not disable the others
        reason = "malformed"
    key_id = present.get("kid")
    return SkippedKey(key_id[:KEY_ID_MAX_LENGTH] if isinstance(key_id, str) else None, reason)


def _import_key(member: dict[str, Any]) -> Key:
    kind = _kind_for_signatures(member)
    if not all(isinstance(member.get(name), str) for name in PARTS[kind]):
        raise _Unusable("missing_part")
    if kind in CURVES and member["crv"] not in CURVES[kind]:
        raise _Unusable("unknown_curve")
    if member.get("alg", next(iter(ALGORITHMS[kind]))) not in ALGORITHMS[kind]:
        raise _Unusable("wrong_algorithm")
    parts: dict[str, Any] = {name: _without_padding(member[name]) for name in PARTS[kind]}
    # joserfc would import a short key with a warning.
    if kind == "RSA" and _bits(parts["n"]) not in RSA_BITS:
        raise _Unusable("wrong_size")
    named: dict[str, Any] = {name: member[name] for name in ("kid", "alg", "use") if name in member}
    return JWKRegistry.import_key({"kty": kind, **parts, **named})


def _kind_for_signatures(member: dict[str, Any]) -> str:
    kind, operations = member.get("kty"), member.get("key_ops", ["verify"])
    # Everyone who can read the set could sign with a symmetric or a private key.
    if kind == "oct":
        raise _Unusable("symmetric")
    if not isinstance(kind, str) or kind not in PARTS:
        raise _Unusable("unknown_type")
    if not PRIVATE_PARTS.isdisjoint(member):
        raise _Unusable("private")
    if member.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise _Unusable("not_for_signatures")
    return kind


def _bits(number: str) -> int:
    return int.from_bytes(urlsafe_b64decode(number.encode()), "big").bit_length()


def _without_padding(value: str) -> str:
    # Some issuers pad, or use the other alphabet of base64, against RFC 7515, 2. The number is the same.
    return value.rstrip("=").replace("+", "-").replace("/", "_")
