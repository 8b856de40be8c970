"""What the variables of links that processes share must look like."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

from kombo_embed.urls import is_loopback

FERNET_KEY_BYTES = 32


def is_on_this_machine(redis_url: str) -> bool:
    """Whether a Redis is reached without leaving this machine."""
    parts = urlsplit(redis_url)
    return parts.scheme == "unix" or is_loopback(parts.hostname or "")


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(value.get_secret_value())
        known = {"redis": parts.hostname, "rediss": parts.hostname, "unix": parts.path.strip("/")}
        if known.get(parts.scheme) and parts.port != 0:
            return value
    except ValueError:
        pass
    raise ValueError("must be redis://host:6379/0, rediss://host:6379/0 or unix:///path/to/redis.sock")


def _fernet_key(value: SecretStr) -> SecretStr:
    try:
        key = base64.b64decode(value.get_secret_value().encode(), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        key = b""
    if len(key) != FERNET_KEY_BYTES:
        raise ValueError(
            "each must be a Fernet key; make one with: python -c "
            "'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
        )
    return value


RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
EncryptionKeys = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(_fernet_key)], ...], NoDecode, BeforeValidator(_split)
]
