"""Names and encryption of what is stored in Redis, where neither may reveal a person or a link.

Two families of names exist. Those of links and of all that belongs to a mint depend on the Kombo account and
on the format, so applications and releases with different ones share nothing. Those of generations and
invalidations depend on neither, and have not changed since the first release: workers with an old and a new
API key, or of an old and a new release, invalidate each other's links.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kombo_embed.models import CacheKey

PREFIX = "kombo-embed"
NAME_KINDS = ("link", "generation", "lease", "failure", "invalidation", "position", "cool-down", "rate")
FORMAT = b"2"  # of names and values; the first release had none
NONCE_BYTES = 12  # 96 bits (RFC 8439, 2.8)


class LinkCipher:
    """Derives names in Redis and encrypts values.

    All keys are derived from those of the settings. The first one encrypts, all of them decrypt. Without any,
    values are stored as they are.
    """

    def __init__(self, encryption_keys: Sequence[str] = ()) -> None:
        self._ciphers = [ChaCha20Poly1305(_derive(key, b"values")) for key in encryption_keys]
        # Emails can be guessed, and a plain hash of each guess compared. A keyed hash prevents that.
        first = encryption_keys[0] if encryption_keys else None
        self._name_key = _derive(first, b"names") if first else b""
        self._invalidation_key = (
            hmac.digest(first.encode(), b"kombo-embed: names of keys", "sha256") if first else b""
        )

    def name(self, kind: str, *parts: str) -> bytes:
        """Return the name for these parts: a different one for each kind and sequence of parts."""
        return self._name(kind, parts)

    def name_of(self, kind: str, key: CacheKey) -> bytes:
        """Return the name for everything in a cache key."""
        end_user = key.end_user
        parts = [key.account, key.environment, end_user.email, end_user.organization_name, end_user.origin_id]
        return self._name(kind, [*parts, _as_lists(key.request)])

    def invalidation_name(self, kind: str, environment: str, identifier: str) -> bytes:
        """Return the name of a generation, an invalidation or a position. It is the same in all releases."""
        digest = _digest(self._invalidation_key, [environment, identifier])
        return f"{PREFIX}:{kind}:{digest}".encode()

    def encrypt(self, value: bytes, *, key: CacheKey, name: bytes, generation: bytes) -> bytes:
        """Encrypt a value that is valid only under this name, for this key, in this generation."""
        if not self._ciphers:
            return value
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._ciphers[0].encrypt(nonce, value, _associated_data(key, name, generation))

    def decrypt(self, value: bytes, *, key: CacheKey, name: bytes, generation: bytes) -> bytes | None:
        """Return the decrypted value; None if no key decrypts it, or if it was encrypted for another use."""
        if not self._ciphers:
            return value
        nonce, encrypted = value[:NONCE_BYTES], value[NONCE_BYTES:]
        if len(nonce) < NONCE_BYTES:
            return None
        data = _associated_data(key, name, generation)
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(nonce, encrypted, data)
            except InvalidTag:
                continue
        return None

    def _name(self, kind: str, parts: object) -> bytes:
        return f"{PREFIX}:{kind}:{FORMAT.decode()}:{_digest(self._name_key, parts)}".encode()


def _associated_data(key: CacheKey, name: bytes, generation: bytes) -> bytes:
    # JSON marks where each part ends. The name is a digest of the whole cache key.
    return json.dumps([FORMAT.hex(), key.account, key.environment, name.hex(), generation.hex()]).encode()


def _derive(key: str, purpose: bytes) -> bytes:
    """Return a key for one purpose. Those of the settings are Fernet keys: 32 random bytes in base64."""
    hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"kombo-embed " + FORMAT + b" " + purpose)
    return hkdf.derive(base64.urlsafe_b64decode(key))


def _digest(name_key: bytes, parts: object) -> str:
    # JSON marks where each part ends and which type it has, so no two sequences share a text.
    text = json.dumps(parts, separators=(",", ":")).encode()
    return hmac.digest(name_key, text, "sha256").hex() if name_key else hashlib.sha256(text).hexdigest()


def _as_lists(value: object) -> object:
    """Return a dataclass as a list that begins with its class name; other values unchanged."""
    names = getattr(type(value), "__slots__", None)
    if names is None:
        return value
    return [type(value).__name__, *(_as_lists(getattr(value, name)) for name in names)]
