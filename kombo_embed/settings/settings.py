"""Every environment variable, once.

`Settings` reads the process environment and ``.env`` into one frozen object. The process environment wins; an
empty value counts as unset. One message names every variable that is missing or invalid.
"""

import hmac
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from kombo_embed.models import Category, Duplicates, Language, LinkOptions
from kombo_embed.settings import fields, sources
from kombo_embed.settings.sources import PREFIX
from kombo_embed.urls import is_private_url

EMBEDDED_LINK_SECONDS = 3600  # the lifetime of an EMBEDDED link (Kombo: "Create connection link", link_type)
RETENTION_MAX_DAYS = 36_500
REGIONS = {
    "eu": "https://api.kombo.dev/v1",
    "us": "https://api.us.kombo.dev/v1",
    "ca": "https://api.ca.kombo.dev/v1",
}


class Settings(BaseSettings):
    """All settings. Each is read from ``KOMBO_`` and its name in capitals.

    Pass values to override the environment, or ``_env_prefix="KOMBO_US_"`` to read a second set of variables.

    Raises:
        ConfigurationError: Variables are missing or invalid. The message names all of them, without values.
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

    api_key: fields.ApiKey
    environment: fields.Name = "default"
    region: Literal["eu", "us", "ca"] = "eu"
    api_url: fields.BaseUrl | None = None
    webhook_secret: fields.Secrets = ()
    mount_path: fields.MountPath = "/kombo"
    integration_category: Category = "HRIS"
    language: Language = "en"
    allowed_categories: fields.Categories = ()
    allowed_tools: fields.Tools = ()
    scope_config_id: fields.NonEmpty | None = None
    remote_environment: fields.NonEmpty | None = None
    enable_filtering: bool | None = None
    enable_field_mapping: bool | None = None
    enable_static_ips: bool | None = None
    duplicates: Duplicates = "offer_reconnect"
    allow_disconnect: bool = False
    database_url: fields.DatabaseUrl = SecretStr("sqlite+aiosqlite:///kombo_embed.db")
    redis_url: fields.RedisUrl | None = None
    link_lifetime: fields.Seconds = EMBEDDED_LINK_SECONDS
    link_min_remaining: fields.SecondsOrZero = 300
    link_cache_size: Annotated[int, Field(gt=0)] = 100_000
    link_encryption_keys: fields.EncryptionKeys = ()
    link_rate: fields.Rate = "20/minute"
    completion_rate: fields.Rate = "300/minute"
    event_retention: fields.Days = 90
    reconcile_every: fields.Interval = "24h"
    reconcile_rate: fields.Rate = "1/second"
    audit_retention: fields.Days = 730
    connect_timeout: fields.Seconds = 3
    timeout: fields.Seconds = 10
    allowed_origins: fields.Origins = ()
    auth: fields.AuthMethod = "callable"
    session_key: fields.NonEmpty = "user"
    claim_email: fields.NonEmpty = "email"
    claim_organization_name: fields.NonEmpty = "organization_name"
    claim_origin_id: fields.NonEmpty = "organization_id"
    oidc_issuer: fields.Issuer | None = Field(default=None, validate_default=True)
    oidc_authorized_party: fields.Values = ()
    oidc_audience: fields.Values = Field(default=(), validate_default=True)
    jwks_url: fields.PrivateUrl | None = None
    jwt_algorithms: fields.Algorithms = ("RS256", "ES256", "EdDSA")

    _prefix: str = PrivateAttr(default=PREFIX)

    def __init__(self, **values: Any) -> None:  # noqa: ANN401 - pydantic reads and types them
        prefix = values.get("_env_prefix") or PREFIX
        problems: dict[str, str] = {}
        try:
            with sources.converted_errors(prefix):
                super().__init__(**values)
        except ValidationError as error:
            problems = sources.problems_of(error, prefix)
        redirected = sources.find_redirected_key(type(self), values, prefix=prefix)
        if redirected is not None:
            problems.setdefault(*redirected)
        problems |= sources.find_expanded(type(self), values, prefix=prefix)
        if problems:
            near_misses = [
                (name, f"not a setting; did you mean {meant}?") for name, meant in near_miss_variables(prefix)
            ]
            lines = [f"{name}: {reason}" for name, reason in [*problems.items(), *near_misses]]
            raise sources.invalid(prefix, lines)
        self._prefix = prefix

    @property
    def prefix(self) -> str:
        """Return the prefix of the environment variables' names."""
        return self._prefix

    @property
    def base_url(self) -> str:
        """Return Kombo's base URL, without a trailing slash."""
        return self.api_url or REGIONS[self.region]

    @property
    def account(self) -> str:
        """Return a name of the Kombo account that reveals neither its URL nor the API key: a keyed hash."""
        api_key = self.api_key.get_secret_value().encode()
        return hmac.digest(api_key, f"kombo-embed account {self.base_url}".encode(), "sha256").hex()

    @property
    def is_private(self) -> bool:
        """Return whether the API key is encrypted in transit (https) or stays on this machine."""
        return is_private_url(self.base_url)

    @property
    def lifetime_seconds(self) -> float:
        """Return a link's lifetime, at most what Kombo grants."""
        return min(self.link_lifetime, EMBEDDED_LINK_SECONDS)

    @property
    def margin_seconds(self) -> float:
        """Return the lifetime that an issued link has left at least.

        It is at most half of the lifetime: with more, no link would ever be issued from the cache.
        """
        return min(self.link_min_remaining, self.lifetime_seconds / 2)

    @property
    def retention_days(self) -> int:
        """Return how long events are kept, at most a century: dates end."""
        return min(self.event_retention, RETENTION_MAX_DAYS)

    @property
    def audit_retention_days(self) -> int:
        """Return how long the audit trail is kept, at most a century."""
        return min(self.audit_retention, RETENTION_MAX_DAYS)

    @property
    def clamped(self) -> dict[str, float]:
        """Return the variables whose values are outside of the possible range, with the effective value."""
        effects = {
            "link_lifetime": self.lifetime_seconds,
            "link_min_remaining": self.margin_seconds,
            "event_retention": self.retention_days,
            "audit_retention": self.audit_retention_days,
            "connect_timeout": min(self.connect_timeout, self.timeout),
        }
        return {
            self.prefix + name.upper(): value
            for name, value in effects.items()
            if value != getattr(self, name)
        }

    @property
    def link_options(self) -> LinkOptions:
        """Return the server's choices for every link."""
        return LinkOptions(
            scope_config_id=self.scope_config_id,
            remote_environment=self.remote_environment,
            enable_filtering=self.enable_filtering,
            enable_field_mapping=self.enable_field_mapping,
            enable_static_ips=self.enable_static_ips,
        )

    @property
    def reconcile_interval(self) -> timedelta | None:
        """Return how often each integration is read again from Kombo; None for never."""
        seconds = fields.interval_seconds(self.reconcile_every)
        return None if seconds is None else timedelta(seconds=seconds)

    @property
    def reconciled_per_second(self) -> float:
        """Return how many integrations are read again per second at most."""
        return fields.per_second(self.reconcile_rate)

    @property
    def encryption_keys(self) -> tuple[str, ...]:
        """Return the keys for links in Redis, in plain text."""
        return tuple(key.get_secret_value() for key in self.link_encryption_keys)

    # Validated per field, so that the one message also names every other missing variable.
    @field_validator("oidc_issuer")
    @classmethod
    def _is_required_with_bearer(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("auth") == "bearer":
            raise ValueError("missing; tokens are accepted only from a known issuer")
        return value

    @field_validator("oidc_audience")
    @classmethod
    def _limits_tokens_with_bearer(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        # A party that is itself invalid is not in the data, and is reported by its own name.
        parties = info.data.get("oidc_authorized_party", ["invalid"])
        if not value and not parties and info.data.get("auth") == "bearer":
            raise ValueError(
                "missing; tokens are accepted only for a known audience (or, if the provider's tokens carry "
                f"none, from the clients in {PREFIX}OIDC_AUTHORIZED_PARTY)"
            )
        return value

    @field_validator("allowed_categories")
    @classmethod
    def _includes_the_default_category(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        default = info.data.get("integration_category")
        if value and default is not None and default not in value:
            raise ValueError(f"must include the category of {PREFIX}INTEGRATION_CATEGORY (HRIS if unset)")
        return value


def near_miss_variables(prefix: str = PREFIX) -> list[tuple[str, str]]:
    """Return (name, setting) for each variable that almost has the name of a setting.

    ``KOMBO_US_API_KEY`` is not a misspelled ``KOMBO_API_KEY``: it belongs to a second set of variables.
    """
    return sources.find_near_misses(Settings.model_fields, prefix=prefix)
