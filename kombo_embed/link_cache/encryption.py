"""What lies in Redis tells nobody whose it is, and with a key, nothing at all."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from kombo_embed.models import CacheKey

PREFIX = "kombo-embed"


class LinkCipher:
    """Makes names for keys, and seals what is kept under them.

    Args:
        encryption_keys: Fernet keys: the first one seals, any opens. Without one nothing is sealed.
    """

    def __init__(self, encryption_keys: Sequence[str] = ()) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in encryption_keys]) if encryption_keys else None
        # Emails can be guessed, so a plain hash could be. With a key, nobody without it can try.
        first = encryption_keys[0].encode() if encryption_keys else b""
        self._name_key = hmac.digest(first, b"kombo-embed: names of keys", "sha256") if first else b""

    def name(self, kind: str, *parts: str) -> bytes:
        """The name of a key: different for each kind and for each sequence of parts."""
        return self._hashed(kind, parts)

    def name_of(self, kind: str, key: CacheKey) -> bytes:
        """As `name`, of everything that is in the key."""
        end_user = key.end_user
        who = [key.environment, end_user.email, end_user.organization_name, end_user.origin_id]
        return self._hashed(kind, [*who, _flat(key.request)])

    def close(self, value: bytes) -> bytes:
        """LinkCipher a value."""
        return value if self._fernet is None else self._fernet.encrypt(value)

    def open(self, value: bytes) -> bytes | None:
        """What was sealed; None if it cannot be opened."""
        if self._fernet is None:
            return value
        try:
            return self._fernet.decrypt(value)
        except InvalidToken:
            return None

    def _hashed(self, kind: str, parts: object) -> bytes:
        # JSON says where each part ends, and of what kind it is: no two sequences look the same.
        text = json.dumps(parts, separators=(",", ":")).encode()
        if self._name_key:
            digest = hmac.digest(self._name_key, text, "sha256").hex()
        else:
            digest = hashlib.sha256(text).hexdigest()
        return f"{PREFIX}:{kind}:{digest}".encode()


def _flat(value: object) -> object:
    """A value of our models as lists that say its kind; whatever else it is, as it is."""
    names = getattr(type(value), "__slots__", None)
    if names is None:
        return value
    return [type(value).__name__, *(_flat(getattr(value, name)) for name in names)]
