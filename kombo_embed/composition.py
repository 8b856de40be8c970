"""The composition root: chooses the implementations by the settings and joins them.

`Composition` has one method per part. `open_services` calls them in order and closes the parts in the reverse
order.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from importlib import resources
from typing import TYPE_CHECKING, Protocol, TypeVar

from kombo_embed.auth.callable import CallableResolver, UnconfiguredResolver
from kombo_embed.auth.claims import ClaimPaths
from kombo_embed.auth.request_user import RequestUserResolver
from kombo_embed.auth.session import SessionResolver
from kombo_embed.clock import SystemClock
from kombo_embed.core.completions import Completions
from kombo_embed.core.flow import ConnectionFlow
from kombo_embed.core.housekeeping import Housekeeping
from kombo_embed.core.links import LinkIssuer
from kombo_embed.core.reconcile import Reconciler
from kombo_embed.core.tools import ToolCatalogue
from kombo_embed.errors import ConfigurationError
from kombo_embed.events.dispatcher import Dispatcher
from kombo_embed.kombo.client import KomboClient
from kombo_embed.link_cache.invalidation import InvalidationPoller
from kombo_embed.link_cache.memory import MemoryLinkCache
from kombo_embed.ports import Collaborators, EndUserResolver, EventHandler, LinkCache
from kombo_embed.rate_limit import BoundedStorage, EndUserRate, SharedStorage
from kombo_embed.settings import Settings, is_on_this_machine, near_miss_variables
from kombo_embed.store.store import Store
from kombo_embed.web.endpoints import Services
from kombo_embed.web.openapi import openapi_document

if TYPE_CHECKING:
    from kombo_embed.link_cache.failover import FailoverLinkCache

logger = logging.getLogger("kombo_embed")

BROWSER_MODULE = "web/static/kombo-embed.js"  # built from frontend_snippet/ by hatch_build.py


class Closable(Protocol):
    """A part that has to be closed."""

    def aclose(self) -> Awaitable[None]:
        """Close it."""


Part = TypeVar("Part", bound=Closable)


@asynccontextmanager
async def open_services(
    settings: Settings, collaborators: Collaborators, handlers: Mapping[str, Sequence[EventHandler]]
) -> AsyncIterator[Services]:
    """Open everything that a mount needs, yield it, and close it again.

    Raises:
        ConfigurationError: Neither an argument nor a setting says who is signed in, or an extra is missing.
        StoreUnavailable: The database cannot be opened.
    """
    async with AsyncExitStack() as stack:
        yield await Composition(settings, collaborators, stack).open(handlers)


class Composition:
    """Builds the parts of one running mount. ``stack`` closes them."""

    def __init__(self, settings: Settings, collaborators: Collaborators, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._collaborators = collaborators
        self._stack = stack
        self._clock = collaborators.clock or SystemClock()

    async def open(self, handlers: Mapping[str, Sequence[EventHandler]]) -> Services:
        """Build everything in order and start the background work last."""
        self._warn()
        settings, clock, end_user = self._settings, self._clock, self._end_user()
        store = await self._store()
        redis_cache = self._redis_cache(store)
        cache = self._cache(redis_cache)
        client = self._kombo_client(redis_cache)
        dispatcher = self._closing(Dispatcher(store.outbox, handlers, clock=clock))
        poller = await self._invalidation_poller(store, cache)
        if redis_cache is not None:
            await redis_cache.open(apply_cool_down=client.apply_cool_down)
        rates = await self._rate_storage(redis_cache)
        links = self._link_issuer(client, cache, store, rates, poller)
        flow = self._flow(client, links, store, rates, dispatcher)
        self._housekeeping(store, dispatcher).start()
        dispatcher.start()
        return Services(
            settings=settings,
            flow=flow,
            catalogue=self._closing(ToolCatalogue(client, allowed=settings.allowed_tools, clock=clock)),
            reconciler=Reconciler(client, store, clock=clock, wake_dispatcher=dispatcher.wake),
            store=store,
            redis=redis_cache,
            end_user=end_user,
            link_options=self._collaborators.link_options,
            default_link_options=settings.link_options,
            browser_module=_browser_module(),
            openapi=openapi_document(),
        )

    def _warn(self) -> None:
        prefix = self._settings.prefix
        if not self._settings.is_private:
            logger.warning("settings.api_key_unencrypted", extra={"variable": f"{prefix}API_URL"})
        for name, meant in near_miss_variables(prefix):
            logger.warning("settings.unknown_variable", extra={"variable": name, "did_you_mean": meant})

    def _end_user(self) -> EndUserResolver:
        settings, supplied = self._settings, self._collaborators.end_user
        if supplied is not None:
            if settings.auth != "callable":
                logger.warning("settings.auth_ignored", extra={"variable": f"{settings.prefix}AUTH"})
            return CallableResolver(supplied)
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
                return self._bearer_resolver(paths)
        if self._collaborators.end_user_from_router:
            return UnconfiguredResolver()
        raise ConfigurationError(
            "kombo-embed cannot start: it does not know who is signed in. Pass KomboEmbed(end_user=...), or "
            f"set {settings.prefix}AUTH to session, request_user or bearer."
        )

    def _bearer_resolver(self, paths: ClaimPaths) -> EndUserResolver:
        # Heavy, and needed with this setting only.
        from kombo_embed.auth.bearer import BearerResolver  # noqa: PLC0415 - as said
        from kombo_embed.auth.discovery import Issuer  # noqa: PLC0415 - as said
        from kombo_embed.auth.jwks import IssuerKeys  # noqa: PLC0415 - as said
        from kombo_embed.auth.jwt import TokenVerifier  # noqa: PLC0415 - as said

        settings = self._settings
        name, audience = settings.oidc_issuer or "", settings.oidc_audience or ""  # the settings require both
        issuer = Issuer(
            issuer=name,
            jwks_url=settings.jwks_url,
            timeout_seconds=settings.timeout,
            connect_timeout_seconds=settings.connect_timeout,
            transport=self._collaborators.http_transport,
        )
        keys = IssuerKeys(self._closing(issuer).fetch_keys, clock=self._clock)
        verifier = TokenVerifier(
            issuer=name, audience=audience, algorithms=settings.jwt_algorithms, clock=self._clock
        )
        return BearerResolver(verifier, keys=self._closing(keys), paths=paths)

    async def _store(self) -> Store:
        url = self._settings.database_url.get_secret_value()
        store = self._closing(Store(url, environment=self._settings.environment, clock=self._clock))
        await store.open()
        return store

    def _cache(self, redis_cache: FailoverLinkCache | None) -> LinkCache:
        if self._collaborators.link_cache is not None:
            return self._collaborators.link_cache
        return self._memory_cache() if redis_cache is None else redis_cache

    def _memory_cache(self) -> MemoryLinkCache:
        settings = self._settings
        return MemoryLinkCache(
            size=settings.link_cache_size, lifetime=settings.lifetime_seconds, clock=self._clock
        )

    def _redis_cache(self, store: Store) -> FailoverLinkCache | None:
        settings = self._settings
        if settings.redis_url is None or self._collaborators.link_cache is not None:
            return None
        try:
            from kombo_embed.link_cache import encryption, failover, redis, redis_line  # noqa: PLC0415 - an extra
        except ImportError:
            raise ConfigurationError(
                f"kombo-embed cannot start: {settings.prefix}REDIS_URL is set, but the Redis client is missing. "
                "Install kombo-embed with its extra 'redis'."
            ) from None
        url = settings.redis_url.get_secret_value()
        if not settings.encryption_keys and not is_on_this_machine(url):
            variable = f"{settings.prefix}LINK_ENCRYPTION_KEYS"
            logger.warning("redis.unencrypted_links", extra={"variable": variable})
        links = redis.RedisLinkStore(
            self._closing(redis_line.RedisLine(url)),
            encryption.LinkCipher(settings.encryption_keys),
            environment=settings.environment,
            lifetime=settings.lifetime_seconds,
            margin=settings.margin_seconds,
            clock=self._clock,
        )
        cache = failover.FailoverLinkCache(
            links,
            make_memory=self._memory_cache,
            find_invalidations=lambda: store.find_invalidations(after=0),
            environment=settings.environment,
            patience=settings.timeout,
            clock=self._clock,
        )
        return self._closing(cache)

    def _kombo_client(self, redis_cache: FailoverLinkCache | None) -> KomboClient:
        settings = self._settings
        client = KomboClient(
            base_url=settings.base_url,
            api_key=settings.api_key.get_secret_value(),
            timeout_seconds=settings.timeout,
            connect_timeout_seconds=settings.connect_timeout,
            clock=self._clock,
            share_cool_down=redis_cache.share_cool_down if redis_cache else None,
            transport=self._collaborators.http_transport,
        )
        return self._closing(client)

    async def _invalidation_poller(self, store: Store, cache: LinkCache) -> InvalidationPoller:
        environment, lifetime = self._settings.environment, self._settings.lifetime_seconds
        poller = InvalidationPoller(
            store, cache, environment=environment, lifetime=lifetime, clock=self._clock
        )
        await self._closing(poller).start()
        return poller

    async def _rate_storage(self, redis_cache: FailoverLinkCache | None) -> BoundedStorage:
        url, size = self._settings.redis_url, self._settings.link_cache_size
        if redis_cache is None or url is None:
            return BoundedStorage(size=size, clock=self._clock)
        storage = SharedStorage(
            url.get_secret_value(), is_up=lambda: redis_cache.is_up, size=size, clock=self._clock
        )
        await self._closing(storage).open()
        return storage

    def _rate(self, name: str, rate: str, storage: BoundedStorage) -> EndUserRate:
        return EndUserRate(
            rate,
            name=name,
            environment=self._settings.environment,
            clock=self._clock,
            storage=storage,
            secret="".join(self._settings.encryption_keys[:1]),
        )

    def _link_issuer(
        self,
        client: KomboClient,
        cache: LinkCache,
        store: Store,
        rates: BoundedStorage,
        poller: InvalidationPoller,
    ) -> LinkIssuer:
        links = LinkIssuer(
            settings=self._settings,
            client=client,
            cache=cache,
            store=store,
            rate=self._rate("link", self._settings.link_rate, rates),
            poller=poller,
            clock=self._clock,
        )
        return self._closing(links)

    def _flow(
        self,
        client: KomboClient,
        links: LinkIssuer,
        store: Store,
        rates: BoundedStorage,
        dispatcher: Dispatcher,
    ) -> ConnectionFlow:
        completions = Completions(
            client=client,
            links=links,
            store=store,
            rate=self._rate("completion", self._settings.completion_rate, rates),
            wake_dispatcher=dispatcher.wake,
        )
        return ConnectionFlow(
            settings=self._settings,
            client=client,
            links=links,
            store=store,
            completions=self._closing(completions),
            wake_dispatcher=dispatcher.wake,
        )

    def _housekeeping(self, store: Store, dispatcher: Dispatcher) -> Housekeeping:
        retention = timedelta(days=self._settings.event_retention)
        return self._closing(
            Housekeeping(store, retention=retention, clock=self._clock, wake_dispatcher=dispatcher.wake)
        )

    def _closing(self, part: Part) -> Part:
        self._stack.push_async_callback(part.aclose)
        return part


def _browser_module() -> bytes | None:
    module = resources.files("kombo_embed") / BROWSER_MODULE
    if module.is_file():
        return module.read_bytes()
    logger.warning(
        "browser_module.missing", extra={"remedy": "install Node.js, then install kombo-embed again"}
    )
    return None
