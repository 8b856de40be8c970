"""Keys and tokens, made without joserfc, which is what the tests test."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.support import ManualClock

ISSUER = "https://login.example"
AUDIENCE = "https://app.example"
NOW = int(ManualClock().time())
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, length: int | None = None) -> str:
    return b64(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


@dataclass(frozen=True)
class TestKey:
    """A private key, and the key id that it is published under."""

    __test__ = False

    kid: str
    alg: str
    private: Private

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """Return the public key as a JSON Web Key."""
        return {**_public(self.private), "kid": self.kid, "use": "sig", "alg": self.alg, **changes}

    def sign(self, data: bytes) -> bytes:
        private = self.private
        if isinstance(private, rsa.RSAPrivateKey):
            digest = {"256": hashes.SHA256(), "512": hashes.SHA512()}[self.alg[2:]]
            pss = padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
            return private.sign(data, pss if self.alg.startswith("PS") else padding.PKCS1v15(), digest)
        if isinstance(private, ed25519.Ed25519PrivateKey):
            return private.sign(data)
        r, s = decode_dss_signature(private.sign(data, ec.ECDSA(hashes.SHA256())))
        size = (private.key_size + 7) // 8
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def _public(private: Private) -> dict[str, Any]:
    if isinstance(private, rsa.RSAPrivateKey):
        numbers = private.public_key().public_numbers()
        return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": b64(private.public_key().public_bytes_raw())}
    point = private.public_key().public_numbers()
    curve = {256: "P-256", 384: "P-384"}[private.key_size]
    size = private.key_size // 8
    return {"kty": "EC", "crv": curve, "x": number(point.x, size), "y": number(point.y, size)}


@functools.cache
def rsa_key(kid: str = "rsa-1", alg: str = "RS256", bits: int = 2048) -> TestKey:
    return TestKey(kid, alg, rsa.generate_private_key(65537, bits))


@functools.cache
def ec_key(kid: str = "ec-1") -> TestKey:
    return TestKey(kid, "ES256", ec.generate_private_key(ec.SECP256R1()))


@functools.cache
def ed_key(kid: str = "ed-1") -> TestKey:
    return TestKey(kid, "EdDSA", ed25519.Ed25519PrivateKey.generate())


def claims(**changes: Any) -> dict[str, Any]:
    """Return a valid token's claims about Ada; a claim that is None is left out."""
    values = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ada",
        "iat": NOW,
        "exp": NOW + 600,
        "email": "ada@acme.example",
        "organization_name": "Acme",
        "organization_id": "acme",
        **changes,
    }
    return {name: value for name, value in values.items() if value is not None}


def header(key: TestKey, **changes: Any) -> dict[str, Any]:
    """Return a valid token's header; a parameter that is None is left out."""
    values = {"alg": key.alg, "kid": key.kid, "typ": "JWT", **changes}
    return {name: value for name, value in values.items() if value is not None}


def make_token(
    key: TestKey,
    *,
    head: dict[str, Any] | str | None = None,
    body: dict[str, Any] | str | bytes | None = None,
    sign: Callable[[bytes], bytes] | None = None,
) -> str:
    """Return a signed token of these parts; by default they are valid."""
    first = head if isinstance(head, str) else json.dumps(header(key) if head is None else head)
    second = body if isinstance(body, str | bytes) else json.dumps(claims() if body is None else body)
    second = second.encode() if isinstance(second, str) else second
    signed = f"{b64(first.encode())}.{b64(second)}"
    return f"{signed}.{b64((sign or key.sign)(signed.encode()))}"
