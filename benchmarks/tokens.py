"""Bearer tokens of a made-up issuer, and its key set."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from benchmarks.people import person

ISSUER = "https://login.example"
AUDIENCE = "kombo-embed-benchmarks"
LIFETIME = 24 * 3600  # seconds, longer than any run
ALGORITHM = "RS256"


@dataclass(frozen=True, slots=True)
class Issuer:
    """Signs tokens with a key of its own."""

    key: RSAKey

    @classmethod
    def create(cls) -> Issuer:
        """With a new key of the usual size."""
        return cls(RSAKey.generate_key(2048, {"use": "sig", "alg": ALGORITHM, "kid": "bench"}))

    def key_set(self) -> str:
        """The public key, as issuers publish it."""
        return json.dumps(KeySet([self.key]).as_dict(private=False))

    def token(self, number: int) -> str:
        """Return a token of one end user."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + LIFETIME,
            "sub": f"person-{number}",
        }
        header = {"alg": ALGORITHM, "kid": "bench", "typ": "JWT"}
        return jwt.encode(header, {**claims, **person(number)}, self.key)


def spoilt(token: str) -> str:
    """The same token with a signature that is not its own."""
    head, _, signature = token.rpartition(".")
    return f"{head}.{signature[::-1]}"
