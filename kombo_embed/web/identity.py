"""The part of the composition root that chooses who says who is signed in."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack

from kombo_embed.auth.claims import ClaimPaths
from kombo_embed.auth.host import AskedElsewhere, CallableResolver
from kombo_embed.auth.request_user import RequestUserResolver
from kombo_embed.auth.session import SessionResolver
from kombo_embed.errors import ConfigurationError
from kombo_embed.ports import Clock, Collaborators, EndUserResolver
from kombo_embed.settings import Settings

logger = logging.getLogger("kombo_embed")


def choose_resolver(
    settings: Settings, brought: Collaborators, *, clock: Clock, stack: AsyncExitStack
) -> EndUserResolver:
    """The host's callable where there is one, else what the settings say; ``stack`` closes it.

    Raises:
        ConfigurationError: Nothing says who is signed in.
    """
    if brought.end_user is not None:
        if settings.auth != "callable":
            logger.warning(
                "%sAUTH=%s is not used: KomboEmbed(end_user=...) says who is signed in",
                settings.prefix,
                settings.auth,
            )
        return CallableResolver(brought.end_user)
    paths = ClaimPaths(
        email=settings.claim_email,
        organization_name=settings.claim_organization_name,
        origin_id=settings.claim_origin_id,
        prefix=settings.prefix,
    )
    match settings.auth:
        case "session":
            return SessionResolver(settings.session_key, paths)
        case "request_user":
            return RequestUserResolver(paths)
        case "bearer":
            return _bearer_resolver(settings, brought, clock, stack, paths)
    if brought.end_user_elsewhere:
        return AskedElsewhere()
    raise ConfigurationError(
        "kombo-embed cannot start: nothing says who is signed in. Pass KomboEmbed(end_user=...), or set "
        f"{settings.prefix}AUTH to session, request_user or bearer."
    )


def _bearer_resolver(
    settings: Settings, brought: Collaborators, clock: Clock, stack: AsyncExitStack, paths: ClaimPaths
) -> EndUserResolver:
    # Heavy, and needed by few.
    from kombo_embed.auth.bearer import BearerResolver  # noqa: PLC0415 - as said
    from kombo_embed.auth.keys import IssuerKeys  # noqa: PLC0415 - as said
    from kombo_embed.auth.oidc import Issuer  # noqa: PLC0415 - as said
    from kombo_embed.auth.tokens import TokenVerifier  # noqa: PLC0415 - as said

    name, audience = settings.oidc_issuer or "", settings.oidc_audience or ""  # never empty, say the settings
    issuer = Issuer(
        issuer=name,
        jwks_url=settings.jwks_url,
        timeout=settings.timeout,
        connect_timeout=settings.connect_timeout,
        transport=brought.http_transport,
    )
    stack.push_async_callback(issuer.aclose)
    keys = IssuerKeys(issuer.fetch_keys, clock=clock)
    stack.push_async_callback(keys.aclose)
    verifier = TokenVerifier(issuer=name, audience=audience, algorithms=settings.jwt_algorithms)
    return BearerResolver(verifier, keys=keys, paths=paths, clock=clock)
