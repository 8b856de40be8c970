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
from kombo_embed.composition.redis import make_redis_client, make_redis_links
from kombo_embed.ports import Clock
from kombo_embed.settings import Settings, is_on_this_machine

if TYPE_CHECKING:
    import httpx

    from kombo_embed.link_cache.redis_client import RedisClient


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
    modules = deployment.inspect_browser_modules()
    try:
        settings = read()
    except errors.ConfigurationError as error:
        remedy = "Correct these variables in the environment or in .env."
        invalid = Finding("settings", "error", str(error), remedy)
        return [invalid, *deployment.inspect_quotes("KOMBO_", around), modules]
    valid = Finding("settings", "ok", "Every required setting is present and valid.")
    called = await _call_all(settings, clock, transport)
    inspected = deployment.inspect(settings, around)
    return [valid, *deployment.inspect_variables(settings, around), *called, *inspected, modules]


async def _call_all(
    settings: Settings, clock: Clock, transport: httpx.AsyncBaseTransport | None
) -> list[Finding]:
    return [
        *await KomboCheck(settings, clock=clock, transport=transport).run(),
        *await DatabaseCheck(settings, clock=clock).run(),
        *await _check_redis(settings, clock),
        *await _check_issuer(settings, transport),
    ]


async def _check_redis(settings: Settings, clock: Clock) -> list[Finding]:
    url, variable = settings.redis_url, f"{settings.prefix}REDIS_URL"
    if url is None:
        return [Finding("redis", "ok", f"{variable} is not set: each process keeps its own links.")]
    try:
        client = make_redis_client(settings, url.get_secret_value())
    except errors.ConfigurationError as error:
        return [Finding("redis", "error", str(error), f"Correct {variable}, or install the extra 'redis'.")]
    findings = [
        *_inspect_encryption(settings, url.get_secret_value()),
        *await _connect(settings, client, clock),
    ]
    return findings or [Finding("redis", "ok", "Redis can be used.")]


async def _connect(settings: Settings, client: RedisClient, clock: Clock) -> list[Finding]:
    from kombo_embed.link_cache.redis_client import RedisUnavailable, RedisUnusable  # noqa: PLC0415 - an extra

    variable = f"{settings.prefix}REDIS_URL"
    async with aclosing(client):
        try:
            await make_redis_links(settings, client, clock=clock).open()
        except RedisUnusable as error:
            message = f"Redis answers, but it can never be used: {error}."
            return [Finding("redis", "error", message, f"Correct {variable}, or the server.")]
        except RedisUnavailable as error:
            message = f"Redis cannot be used ({error}): each process keeps its own links."
            remedy = f"Check {variable}, and that Redis runs and can be reached with its user and password."
            return [Finding("redis", "warning", message, remedy)]
    return []


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
