"""Chooses how the signed-in end user is found."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack

from kombo_embed.auth.callable import CallableResolver, UnconfiguredResolver
from kombo_embed.auth.claims import ClaimPaths
from kombo_embed.auth.request_user import RequestUserResolver
from kombo_embed.auth.session import SessionResolver
from kombo_embed.errors import ConfigurationError
from kombo_embed.ports import Clock, Collaborators, EndUserResolver
from kombo_embed.settings import Settings

logger = logging.getLogger("kombo_embed")


def choose_resolver(
    settings: Settings, collaborators: Collaborators, *, clock: Clock, stack: AsyncExitStack
) -> EndUserResolver:
    """Return the host's callable if there is one, otherwise what the settings name. ``stack`` closes it.

    Raises:
        ConfigurationError: Neither an argument nor a setting says who is signed in.
    """
    if collaborators.end_user is not None:
        if settings.auth != "callable":
            logger.warning("settings.auth_ignored", extra={"variable": f"{settings.prefix}AUTH"})
        return CallableResolver(collaborators.end_user)
    match settings.auth:
        case "session":
            return SessionResolver(settings.session_key, _claim_paths(settings))
        case "request_user":
            return RequestUserResolver(_claim_paths(settings))
        case "bearer":
            return _bearer_resolver(settings, collaborators, clock, stack)
    if collaborators.end_user_from_router:
        return UnconfiguredResolver()
    raise ConfigurationError(
        "kombo-embed cannot start: it does not know who is signed in. Pass KomboEmbed(end_user=...), or set "
        f"{settings.prefix}AUTH to session, request_user or bearer."
    )


def _claim_paths(settings: Settings) -> ClaimPaths:
    return ClaimPaths(
        email=settings.claim_email,
        organization_name=settings.claim_organization_name,
        origin_id=settings.claim_origin_id,
        prefix=settings.prefix,
    )


def _bearer_resolver(
    settings: Settings, collaborators: Collaborators, clock: Clock, stack: AsyncExitStack
) -> EndUserResolver:
    # Heavy, and needed with this setting only.
    from kombo_embed.auth.bearer import BearerResolver  # noqa: PLC0415 - as said
    from kombo_embed.auth.discovery import Issuer  # noqa: PLC0415 - as said
    from kombo_embed.auth.jwks import IssuerKeys  # noqa: PLC0415 - as said
    from kombo_embed.auth.jwt import TokenVerifier  # noqa: PLC0415 - as said

    name, audience = settings.oidc_issuer or "", settings.oidc_audience or ""  # the settings require both
    issuer = Issuer(
        issuer=name,
        jwks_url=settings.jwks_url,
        timeout_seconds=settings.timeout,
        connect_timeout_seconds=settings.connect_timeout,
        transport=collaborators.http_transport,
    )
    stack.push_async_callback(issuer.aclose)
    keys = IssuerKeys(issuer.fetch_keys, clock=clock)
    stack.push_async_callback(keys.aclose)
    verifier = TokenVerifier(issuer=name, audience=audience, algorithms=settings.jwt_algorithms, clock=clock)
    return BearerResolver(verifier, keys=keys, paths=_claim_paths(settings))
