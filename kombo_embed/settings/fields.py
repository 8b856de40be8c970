"""The types of the settings' fields. A validator's message follows the variable's name and a colon."""

import base64
import binascii
import re
from typing import Annotated, Literal, get_args
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints
from pydantic_settings import NoDecode

from kombo_embed import database_url
from kombo_embed.models import Category
from kombo_embed.urls import is_loopback, is_private_url, parse_origin

FERNET_KEY_BYTES = 32
NAMES_NOTHING = "must name at least one value"
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

AuthMethod = Literal["callable", "session", "request_user", "bearer"]
# Asymmetric algorithms only (RFC 7518, 3.1; RFC 8037; RFC 9864). An issuer's keys are public: with HS256,
# anyone who reads them could sign, and with none anyone at all.
RsaAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
CurveAlgorithm = Literal["ES256", "ES384", "ES512", "EdDSA", "Ed25519", "Ed448"]
Algorithm = Literal[RsaAlgorithm, CurveAlgorithm]


def is_on_this_machine(redis_url: str) -> bool:
    """Return whether a Redis is reached without leaving this machine."""
    parts = urlsplit(redis_url)
    return parts.scheme == "unix" or is_loopback(parts.hostname or "")


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = tuple(part.strip() for part in value.split(",") if part.strip())
    # A list that names nothing is not unset: the check that it is for would be disabled.
    if value and not parts:
        raise ValueError(NAMES_NOTHING)
    return parts


def _values(value: object) -> object:
    if value == "":
        raise ValueError(NAMES_NOTHING)
    return _split(() if value is None else value)


def _not_blank(value: SecretStr) -> SecretStr:
    # With an empty secret, anyone could sign, and HMAC treats NUL characters as nothing.
    if not any(one.isprintable() and not one.isspace() for one in value.get_secret_value()):
        raise ValueError("must not be empty")
    return value


def _header_safe(value: SecretStr) -> SecretStr:
    if re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()) is None:
        raise ValueError("must be printable ASCII without spaces")
    return value


def _base_url(value: str) -> str:
    parts = _http_url(value)
    if parts is None or parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must be a complete URL, such as https://api.kombo.dev/v1")
    return value.rstrip("/")


def _mount_path(value: str) -> str:
    path = value.rstrip("/")
    if re.fullmatch(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)+", path) is None:
        raise ValueError("must be a path such as /kombo")
    return path


def _origin(value: str) -> str:
    try:
        return parse_origin(value)
    except ValueError:
        raise ValueError(
            "each must be an origin such as https://app.example.com or capacitor://localhost, as browsers "
            "send it: without a path and without *, and with an internationalized name in punycode (xn--)"
        ) from None


def _http_url(value: str) -> SplitResult | None:
    if re.search(r"\s", value):
        return None
    try:
        parts = urlsplit(value)
        valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if valid else None


def _printable(value: SecretStr) -> SecretStr:
    # No file and no host has such a name; the libraries below would raise errors of their own.
    if not value.get_secret_value().isprintable():
        raise ValueError("must not contain control characters")
    return value


def _database_url(value: SecretStr) -> SecretStr:
    database_url.parse(value.get_secret_value())
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(value.get_secret_value())
        target = {"redis": parts.hostname, "rediss": parts.hostname, "unix": parts.path.strip("/")}
        if target.get(parts.scheme) and parts.port != 0:
            return value
    except ValueError:
        pass
    raise ValueError(
        "must be redis://host:6379/0, rediss://host:6379/0 or unix:///path/to/redis.sock: one Redis server, "
        "not a Cluster or a Sentinel"
    )


def _fernet_key(value: SecretStr) -> SecretStr:
    try:
        key = base64.b64decode(value.get_secret_value().encode(), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        key = b""
    if len(key) != FERNET_KEY_BYTES:
        raise ValueError(
            "each must be a Fernet key; create one with: python -c "
            "'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
        )
    return value


def _rate(value: str) -> str:
    if re.fullmatch(r"[1-9][0-9]{0,5}/(second|minute|hour|day)", value) is None:
        raise ValueError("must be a rate such as 20/minute: a number, and second, minute, hour or day")
    return value


def _interval(value: str) -> str:
    if value != "off" and re.fullmatch(r"[1-9][0-9]{0,5}[smh]|[1-9][0-9]{0,4}d", value) is None:
        raise ValueError("must be a time such as 24h or 30m: a number, and s, m, h or d; or off")
    return value


def interval_seconds(value: str) -> float | None:
    """Return the seconds of an interval; None for ``off``."""
    return None if value == "off" else int(value[:-1]) * SECONDS[value[-1]]


def per_second(rate: str) -> float:
    """Return how often per second a rate is."""
    count, _, unit = rate.partition("/")
    return int(count) / SECONDS[unit[0]]


def _algorithms(value: object) -> object:
    if not isinstance(value, str):
        return value
    names = tuple(part.strip() for part in value.split(",") if part.strip())
    known = get_args(Algorithm)
    if not names or not set(names) <= set(known):
        raise ValueError(
            f"each must be one of {', '.join(known)}; with none or HS*, anyone who reads the issuer's keys "
            "could sign tokens"
        )
    return names


def _private_url(value: str) -> str:
    if re.fullmatch(r"[\x21-\x7e]+", value) is None or not is_private_url(value) or "#" in value:
        raise ValueError("must be a URL such as https://login.example.com; http is for this machine only")
    return value


def _issuer(value: str) -> str:
    # OpenID Connect Discovery 1.0, 3: no query and no fragment.
    if "?" in _private_url(value):
        raise ValueError("must be the issuer's URL exactly as its tokens name it, without a query")
    return value


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
NonEmpty = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"\S")]
ToolName = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[\w.-]+$")]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SecondsOrZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Days = Annotated[int, Field(gt=0)]
Interval = Annotated[str, AfterValidator(_interval)]
Rate = Annotated[str, AfterValidator(_rate)]
ApiKey = Annotated[SecretStr, AfterValidator(_header_safe)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
MountPath = Annotated[str, AfterValidator(_mount_path)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_printable), AfterValidator(_database_url)]
RedisUrl = Annotated[SecretStr, AfterValidator(_printable), AfterValidator(_redis_url)]
Issuer = Annotated[str, AfterValidator(_issuer)]
PrivateUrl = Annotated[str, AfterValidator(_private_url)]
# Lists are separated by commas.
Tools = Annotated[tuple[ToolName, ...], NoDecode, BeforeValidator(_split)]
Values = Annotated[tuple[NonEmpty, ...], NoDecode, BeforeValidator(_values)]
Categories = Annotated[tuple[Category, ...], NoDecode, BeforeValidator(_split)]
Secrets = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(_not_blank)], ...], NoDecode, BeforeValidator(_split)
]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_split)]
Algorithms = Annotated[tuple[Algorithm, ...], NoDecode, BeforeValidator(_algorithms), Field(min_length=1)]
EncryptionKeys = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(_fernet_key)], ...], NoDecode, BeforeValidator(_split)
]
