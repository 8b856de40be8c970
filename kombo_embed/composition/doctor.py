"""Examines an installation: calls Kombo, the database, Redis and the issuer as the app would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING

from kombo_embed import errors
from kombo_embed.composition import deployment
from kombo_embed.composition.check_database import DatabaseCheck
from kombo_embed.composition.check_kombo import KomboCheck
from kombo_embed.composition.deployment import Finding, Surroundings
from kombo_embed.ports import Clock
from kombo_embed.settings import Settings, is_on_this_machine

if TYPE_CHECKING:
    import httpx


async def diagnose(
    read: Callable[[], Settings],
    *,
    clock: Clock,
    surroundings: Surroundings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> list[Finding]:
    """Return the findings of every check; with invalid settings, of those that need none.

    ``transport`` replaces the network of the calls to Kombo and to the issuer, for tests.
    """
    around = surroundings or deployment.read_surroundings()
    try:
        settings = read()
    except errors.ConfigurationError as error:
        invalid = Finding(
            "settings", "error", str(error), "Correct these variables in the environment or in .env."
        )
        return [invalid, *deployment.inspect_quotes("KOMBO_", around), deployment.inspect_browser_modules()]
    return [
        Finding("settings", "ok", "Every required setting is present and valid."),
        *deployment.inspect_variables(settings, around),
        *await KomboCheck(settings, clock=clock, transport=transport).run(),
        *await DatabaseCheck(settings, clock=clock).run(),
        *await _check_redis(settings),
        *await _check_issuer(settings, transport),
        *deployment.inspect(settings, around),
        deployment.inspect_browser_modules(),
    ]


async def _check_redis(settings: Settings) -> list[Finding]:
    url, variable = settings.redis_url, f"{settings.prefix}REDIS_URL"
    if url is None:
        return [Finding("redis", "ok", f"{variable} is not set: each process keeps its own links.")]
    try:
        from kombo_embed.link_cache import redis_client  # noqa: PLC0415 - an extra
    except ImportError:
        message = f"{variable} is set, but the Redis client is not installed."
        return [Finding("redis", "error", message, "Install kombo-embed with its extra 'redis'.")]
    findings = list(_inspect_encryption(settings, url.get_secret_value()))
    try:
        async with aclosing(redis_client.RedisClient(url.get_secret_value())) as client:
            await client.connect()
    except errors.ConfigurationError as error:
        return [*findings, Finding("redis", "error", str(error), f"Correct {variable}.")]
    except redis_client.RedisUnavailable as error:
        message = f"Redis cannot be used ({error}): each process keeps its own links."
        remedy = f"Check {variable}, and that Redis runs and can be reached with its user and password."
        return [*findings, Finding("redis", "warning", message, remedy)]
    return findings or [Finding("redis", "ok", "Redis can be used.")]


def _inspect_encryption(settings: Settings, url: str) -> Iterator[Finding]:
    if not settings.encryption_keys and not is_on_this_machine(url):
        variable = f"{settings.prefix}LINK_ENCRYPTION_KEYS"
        message = f"Links are stored in a Redis on another machine without encryption: {variable} is not set."
        yield Finding(
            "redis", "warning", message, f"Set {variable} to a Fernet key, the same in all processes."
        )


async def _check_issuer(settings: Settings, transport: httpx.AsyncBaseTransport | None) -> list[Finding]:
    if settings.auth != "bearer":
        return []
    from kombo_embed.auth import discovery  # noqa: PLC0415 - heavy, and only for this

    issuer = discovery.Issuer(
        issuer=settings.oidc_issuer or "",  # the settings require it
        jwks_url=settings.jwks_url,
        timeout_seconds=settings.timeout,
        connect_timeout_seconds=settings.connect_timeout,
        transport=transport,
    )
    variables = f"{settings.prefix}OIDC_ISSUER and {settings.prefix}JWKS_URL"
    remedy = f"Check {variables}: without keys, every token is refused."
    async with aclosing(issuer):
        try:
            keys = await issuer.fetch_keys()
        except errors.IdentityUnavailable as error:
            return [Finding("issuer", "error", f"The issuer's keys cannot be used: {error}.", remedy)]
    if not keys.keys:
        return [Finding("issuer", "error", "The issuer publishes no key that can verify tokens.", remedy)]
    return [Finding("issuer", "ok", "The issuer's keys can be fetched.")]
