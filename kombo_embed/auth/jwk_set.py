"""Reads an issuer's published keys (JSON Web Key Set, RFC 7517). Pure."""

from __future__ import annotations

import json
from typing import Any

from joserfc.jwk import JWKRegistry, Key, RSAKey
from joserfc.util import urlsafe_b64decode

RSA_BITS = range(2048, 16384 + 1)  # RFC 7518, 3.3; beyond, a single verification would hold up the loop


def parse_key_set(body: bytes) -> tuple[Key, ...]:
    """The keys of a set that tokens can be verified with, in order; those that cannot be read are left out.

    A private key among them is left out too: whatever is published, anybody can sign with.

    Raises:
        ValueError: It is no key set.
    """
    try:
        members = json.loads(body)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("it is no JSON Web Key Set") from None
    if not isinstance(members, list):
        raise ValueError("it is no JSON Web Key Set")  # noqa: TRY004 - what was received is wrong, not a type of ours
    keys = (_read_key(member) for member in members)
    return tuple(key for key in keys if key is not None and not key.is_private)


def _read_key(member: Any) -> Key | None:  # noqa: ANN401 - JSON of somebody else's
    try:
        # Too short a key would be read with a warning.
        if member["kty"] == RSAKey.key_type and _bits(member["n"]) not in RSA_BITS:
            return None
        return JWKRegistry.import_key(member)
    except Exception:  # noqa: BLE001 - one key that nobody can read must not spoil the others, however it fails
        return None


def _bits(number: str) -> int:
    return int.from_bytes(urlsafe_b64decode(number.encode()), "big").bit_length()
