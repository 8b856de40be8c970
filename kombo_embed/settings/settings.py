"""Every environment variable, once.

`Settings` reads the process environment and ``.env`` (the process wins, an empty value is unset) into one
frozen object. Whatever is wrong with it is told in one message that names every variable at fault.
"""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from kombo_embed.errors import ConfigurationError
from kombo_embed.models import Category, Duplicates, Language, LinkOptions
from kombo_embed.settings.database_url import verify_database_url
from kombo_embed.settings.identity import Algorithms, AuthMethod, Issuer, NonEmpty, PrivateUrl
from kombo_embed.settings.near_misses import near_misses
from kombo_embed.settings.shared import EncryptionKeys, RedisUrl
from kombo_embed.urls import is_loopback

PREFIX = "KOMBO_"
LINK_LIFETIME = 3600  # seconds an EMBEDDED link is valid for (Kombo: "Create connection link", link_type)
DEFAULT_PORTS = {"http": 80, "https": 443}
REGIONS = {
    "eu": "https://api.kombo.dev/v1",
    "us": "https://api.us.kombo.dev/v1",
    "ca": "https://api.ca.kombo.dev/v1",
}


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _header_safe(value: SecretStr) -> SecretStr:
    if re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()) is None:
        raise ValueError("must be printable ASCII without spaces")
    return value


def _base_url(value: str) -> str:
    parts = _url(value)
    if parts is None or parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must be a whole URL, such as https://api.kombo.dev/v1")
    return value.rstrip("/")


def _mount_path(value: str) -> str:
    path = value.rstrip("/")
    if re.fullmatch(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)+", path) is None:
        raise ValueError("must be a path such as /kombo")
    return path


def _origin(value: str) -> str:
    parts = _url(value)
    if parts is None or value != f"{parts.scheme}://{parts.netloc}" or "@" in value:
        raise ValueError(
            "each must be an origin such as https://app.example.com, without a path and without *"
        )
    # Browsers leave the default port out.
    return value.lower().removesuffix(f":{DEFAULT_PORTS[parts.scheme]}")


def _url(value: str) -> SplitResult | None:
    if re.search(r"\s", value):
        return None
    try:
        parts = urlsplit(value)
        known = parts.scheme in DEFAULT_PORTS and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if known else None


def _database_url(value: SecretStr) -> SecretStr:
    verify_database_url(value.get_secret_value())
    return value


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


def _rate(value: str) -> str:
    if re.fullmatch(r"[1-9][0-9]{0,5}/(second|minute|hour|day)", value) is None:
        raise ValueError("must be a rate such as 20/minute: a number, and second, minute, hour or day")
    return value


Rate = Annotated[str, AfterValidator(_rate)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """All settings, each from ``KOMBO_`` and its name in capitals.

    Pass values to override the environment, or ``_env_prefix="KOMBO_US_"`` to read a second set of variables.

    Raises:
        ConfigurationError: Variables are missing or wrong; the message names all of them, without values.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    api_key: Annotated[SecretStr, AfterValidator(_header_safe)]
    environment: Name = "default"
    region: Literal["eu", "us", "ca"] = "eu"
    api_url: Annotated[str, AfterValidator(_base_url)] | None = None
    webhook_secret: Secrets = ()
    mount_path: Annotated[str, AfterValidator(_mount_path)] = "/kombo"
    integration_category: Category = "HRIS"
    language: Language = "en"
    allowed_categories: Annotated[tuple[Category, ...], NoDecode, BeforeValidator(_split)] = ()
    allowed_tools: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = ()
    scope_config_id: str | None = None
    remote_environment: str | None = None
    enable_filtering: bool | None = None
    enable_field_mapping: bool | None = None
    enable_static_ips: bool | None = None
    duplicates: Duplicates = "offer_reconnect"
    allow_disconnect: bool = False
    database_url: Annotated[SecretStr, AfterValidator(_database_url)] = SecretStr(
        "sqlite+aiosqlite:///kombo_embed.db"
    )
    redis_url: RedisUrl | None = None
    link_lifetime: Seconds = LINK_LIFETIME
    link_min_remaining: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 300
    link_cache_size: Annotated[int, Field(gt=0)] = 100_000
    link_encryption_keys: EncryptionKeys = ()
    link_rate: Rate = "20/minute"
    completion_rate: Rate = "300/minute"
    event_retention: Annotated[int, Field(gt=0, le=36_500)] = 90
    connect_timeout: Seconds = 3
    timeout: Seconds = 10
    allowed_origins: Origins = ()
    auth: AuthMethod = "callable"
    session_key: NonEmpty = "user"
    claim_email: NonEmpty = "email"
    claim_organization_name: NonEmpty = "organization_name"
    claim_origin_id: NonEmpty = "organization_id"
    oidc_issuer: Issuer | None = Field(default=None, validate_default=True)
    oidc_audience: NonEmpty | None = Field(default=None, validate_default=True)
    jwks_url: PrivateUrl | None = None
    jwt_algorithms: Algorithms = ("RS256", "ES256", "EdDSA")

    _prefix: str = PrivateAttr(default=PREFIX)

    def __init__(self, **values: Any) -> None:  # noqa: ANN401 - pydantic reads and types them
        prefix = values.get("_env_prefix") or PREFIX
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(
                _explain(prefix, [*_problems(error, prefix), *_misspelt(prefix)])
            ) from None
        except SettingsError as error:
            raise ConfigurationError(_explain(prefix, [str(error)])) from None
        except UnicodeDecodeError:
            raise ConfigurationError(_explain(prefix, [".env: is not UTF-8"])) from None
        self._prefix = prefix

    @property
    def base_url(self) -> str:
        """Kombo's base URL, without a slash at the end."""
        return self.api_url or REGIONS[self.region]

    @property
    def is_private(self) -> bool:
        """Whether nobody on the way can read the API key: https, or http on this machine."""
        parts = urlsplit(self.base_url)
        return parts.scheme == "https" or is_loopback(parts.hostname or "")

    @property
    def lifetime(self) -> float:
        """Seconds that a link is taken to live: never more than Kombo grants."""
        return min(self.link_lifetime, LINK_LIFETIME)

    @property
    def margin(self) -> float:
        """Seconds that a link handed out has left at least; at most half of its life, or none were cached."""
        return min(self.link_min_remaining, self.lifetime / 2)

    @property
    def link_options(self) -> LinkOptions:
        """The server's own choices for every link."""
        return LinkOptions(
            scope_config_id=self.scope_config_id,
            remote_environment=self.remote_environment,
            enable_filtering=self.enable_filtering,
            enable_field_mapping=self.enable_field_mapping,
            enable_static_ips=self.enable_static_ips,
        )

    @property
    def encryption_keys(self) -> tuple[str, ...]:
        """The keys for links in Redis, in plain text."""
        return tuple(key.get_secret_value() for key in self.link_encryption_keys)

    @property
    def prefix(self) -> str:
        """What the names of the environment variables begin with."""
        return self._prefix

    @field_validator("oidc_issuer", "oidc_audience")
    @classmethod
    def _needed_with_bearer(cls, value: str | None, info: ValidationInfo) -> str | None:
        # Here, so that it is told in one message with everything else that is missing.
        if value is None and info.data.get("auth") == "bearer":
            raise ValueError("missing; tokens are not believed without knowing who made them, and for whom")
        return value

    @field_validator("allowed_categories")
    @classmethod
    def _offers_the_usual_one(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        usual = info.data.get("integration_category")
        if value and usual is not None and usual not in value:
            raise ValueError(
                f"must include the category of {PREFIX}INTEGRATION_CATEGORY, HRIS if that is not set"
            )
        return value


class RecordSettings(Settings):
    """The settings of whoever only looks into the records: Kombo is not called, so no API key is needed."""

    api_key: SecretStr = SecretStr("")


def mount_path_from_environment(prefix: str = PREFIX) -> str:
    """The mount path alone, for routes that are laid before the settings are read.

    A wrong one gives the default here: the start, which reads everything, stops with the reason.
    """

    class MountPath(BaseSettings):
        model_config = SettingsConfigDict(
            env_prefix=prefix, env_file=".env", env_ignore_empty=True, extra="ignore"
        )
        mount_path: Annotated[str, AfterValidator(_mount_path)] = "/kombo"

    try:
        return MountPath().mount_path
    except (ValidationError, SettingsError, UnicodeDecodeError):
        return "/kombo"


def _problems(error: ValidationError, prefix: str) -> list[str]:
    problems: dict[str, str] = {}
    for detail in error.errors(include_input=False, include_url=False):
        name = prefix + str(detail["loc"][0]).upper()
        missing = "missing; it is the API key from Kombo's dashboard, page Secrets"
        reason = (
            missing
            if detail["type"] == "missing"
            else detail["msg"].removeprefix("Value error, ").replace(PREFIX, prefix)
        )
        problems.setdefault(name, f"{name}: {reason}")
    return list(problems.values())


def misspelt_variables(prefix: str = PREFIX) -> list[tuple[str, str]]:
    """The variables that are almost one of ours, each with the name that was probably meant."""
    known = {prefix + name.upper() for name in Settings.model_fields}
    return list(near_misses([*os.environ, *dotenv_values(".env")], known=known, prefix=prefix))


def _misspelt(prefix: str) -> list[str]:
    return [f"{name}: not a setting; did you mean {meant}?" for name, meant in misspelt_variables(prefix)]


def _explain(prefix: str, problems: list[str]) -> str:
    count = "1 setting is" if len(problems) == 1 else f"{len(problems)} settings are"
    lines = "\n".join(f"  {problem}" for problem in problems)
    source = f"environment variables {prefix}*, or .env"
    return f"kombo-embed cannot start, {count} missing or wrong ({source}):\n{lines}"
