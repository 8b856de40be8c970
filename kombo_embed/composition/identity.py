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

    Raises `ConfigurationError` if neither an argument nor a setting says who is signed in.
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
    from kombo_embed.auth import bearer, discovery, jwks, jwt  # noqa: PLC0415 - heavy, and only for this

    _warn_of_what_is_not_verified(settings)
    name = settings.oidc_issuer or ""  # the settings require it
    issuer = discovery.Issuer(
        issuer=name,
        jwks_url=settings.jwks_url,
        timeout_seconds=settings.timeout,
        connect_timeout_seconds=settings.connect_timeout,
        transport=collaborators.http_transport,
    )
    stack.push_async_callback(issuer.aclose)
    keys = jwks.IssuerKeys(issuer.fetch_keys, clock=clock)
    stack.push_async_callback(keys.aclose)
    verifier = jwt.TokenVerifier(
        issuer=name,
        audiences=settings.oidc_audience,
        authorized_parties=settings.oidc_authorized_party,
        algorithms=settings.jwt_algorithms,
        clock=clock,
    )
    return bearer.BearerResolver(verifier, keys=keys, paths=_claim_paths(settings))


def _warn_of_what_is_not_verified(settings: Settings) -> None:
    if not settings.oidc_audience:
        # Whatever else the authorized party may call gets the same tokens.
        logger.warning("bearer.no_audience", extra={"variable": f"{settings.prefix}OIDC_AUDIENCE"})
    for name, url in (("OIDC_ISSUER", settings.oidc_issuer), ("JWKS_URL", settings.jwks_url)):
        if url is not None and not url.startswith("https:"):
            logger.warning("bearer.keys_unencrypted", extra={"variable": f"{settings.prefix}{name}"})
