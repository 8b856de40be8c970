"""Names and encryption of what is stored in Redis, where neither may reveal a person or a link."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from kombo_embed.models import CacheKey

PREFIX = "kombo-embed"


class LinkCipher:
    """Derives Redis keys and encrypts values.

    Args:
        encryption_keys: Fernet keys: the first encrypts, all of them decrypt. Without any, values are stored
            as they are.
    """

    def __init__(self, encryption_keys: Sequence[str] = ()) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in encryption_keys]) if encryption_keys else None
        # Emails can be guessed, and a plain hash of each guess compared. A keyed hash prevents that.
        first = encryption_keys[0].encode() if encryption_keys else b""
        self._name_key = hmac.digest(first, b"kombo-embed: names of keys", "sha256") if first else b""

    def name(self, kind: str, *parts: str) -> bytes:
        """Return the Redis key for these parts: a different one for each kind and sequence of parts."""
        return self._hash(kind, parts)

    def name_of(self, kind: str, key: CacheKey) -> bytes:
        """Return the Redis key for everything in a cache key."""
        end_user = key.end_user
        parts = [key.environment, end_user.email, end_user.organization_name, end_user.origin_id]
        return self._hash(kind, [*parts, _as_lists(key.request)])

    def encrypt(self, value: bytes) -> bytes:
        """Encrypt a value."""
        return value if self._fernet is None else self._fernet.encrypt(value)

    def decrypt(self, value: bytes) -> bytes | None:
        """Return the decrypted value, or None if none of the keys decrypts it."""
        if self._fernet is None:
            return value
        try:
            return self._fernet.decrypt(value)
        except InvalidToken:
            return None

    def _hash(self, kind: str, parts: object) -> bytes:
        # JSON marks where each part ends and which type it has, so no two sequences share a text.
        text = json.dumps(parts, separators=(",", ":")).encode()
        if self._name_key:
            digest = hmac.digest(self._name_key, text, "sha256").hex()
        else:
            digest = hashlib.sha256(text).hexdigest()
        return f"{PREFIX}:{kind}:{digest}".encode()


def _as_lists(value: object) -> object:
    """Return a dataclass as a list that begins with its class name; other values unchanged."""
    names = getattr(type(value), "__slots__", None)
    if names is None:
        return value
    return [type(value).__name__, *(_as_lists(getattr(value, name)) for name in names)]
