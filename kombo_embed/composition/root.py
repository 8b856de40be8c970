"""Builds the parts of one running mount and joins them, one method per part."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

from kombo_embed.clock import SystemClock
from kombo_embed.composition import background, deployment
from kombo_embed.composition.identity import choose_resolver
from kombo_embed.composition.kombo import make_kombo_client
from kombo_embed.composition.redis import make_rate_storage, make_redis_client, make_redis_link_cache
from kombo_embed.core.completions import Completions, Wake
from kombo_embed.core.counting import Counting
from kombo_embed.core.details import DetailsReader
from kombo_embed.core.erasure import Eraser
from kombo_embed.core.flow import ConnectionFlow
from kombo_embed.core.housekeeping import Housekeeping
from kombo_embed.core.importer import Importer
from kombo_embed.core.links import LinkIssuer
from kombo_embed.core.list_tags import ListTags
from kombo_embed.core.reconcile import Reconciler
from kombo_embed.core.tools import ToolCatalogue
from kombo_embed.deliveries import EventHandlers
from kombo_embed.events.dispatcher import Dispatcher
from kombo_embed.kombo.client import KomboClient
from kombo_embed.link_cache.invalidation import InvalidationPoller
from kombo_embed.link_cache.memory import MemoryLinkCache
from kombo_embed.otel import create_telemetry
from kombo_embed.ports import Collaborators, LinkCache
from kombo_embed.rate_limit import BoundedStorage, EndUserRate
from kombo_embed.settings import Settings
from kombo_embed.store.store import Store
from kombo_embed.web.endpoints import Services, load_browser_modules
from kombo_embed.web.openapi import openapi_document
from kombo_embed.web.webhook_rejections import WebhookRejections

if TYPE_CHECKING:
    from kombo_embed.link_cache.failover import FailoverLinkCache
    from kombo_embed.link_cache.redis_client import RedisClient


class Closable(Protocol):
    """A part that has to be closed."""

    def aclose(self) -> Awaitable[None]:
        """Close it."""


Part = TypeVar("Part", bound=Closable)


@asynccontextmanager
async def open_services(
    settings: Settings, collaborators: Collaborators, handlers: EventHandlers
) -> AsyncIterator[Services]:
    """Open everything that a mount needs, yield it, and close it again.

    Raises `ConfigurationError` if nothing says who is signed in, or an extra is missing.
    """
    deployment.warn(settings)
    async with AsyncExitStack() as stack:
        yield await Composition(settings, collaborators, stack).open(handlers)


class Composition:
    """Builds the parts of one running mount. ``stack`` closes them."""

    def __init__(self, settings: Settings, collaborators: Collaborators, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._collaborators = collaborators
        self._stack = stack
        self._clock = collaborators.clock or SystemClock()
        self._telemetry = self._closing(
            create_telemetry(settings.environment, monotonic=self._clock.monotonic)
        )

    async def open(self, handlers: EventHandlers) -> Services:
        """Build everything in order and start the background work last."""
        end_user = choose_resolver(self._settings, self._collaborators, clock=self._clock, stack=self._stack)
        store = await self._store()
        redis_client = self._redis_client()
        redis_cache = self._redis_cache(store, redis_client)
        client = self._kombo_client(redis_cache)
        poller = await self._poller(client, store, redis_cache)
        rates = make_rate_storage(self._settings, redis_client, redis_cache, clock=self._clock)
        clock, telemetry = self._clock, self._telemetry
        dispatcher = self._closing(Dispatcher(store.outbox, handlers, clock=clock, telemetry=telemetry))
        links = self._links(client, store, poller.cache, rates)
        details = self._details_reader(client, store, dispatcher)
        flow = self._flow(client, store, links, rates, Wake(dispatcher.wake, details.wake))
        rejections = self._closing(WebhookRejections(clock=self._clock))
        counting = Counting(
            store.support.rollups, store.details, take_rejections=rejections.take, clock=clock
        )
        housekeeping = await self._start_background_work(client, store, dispatcher, counting)
        if self._collaborators.background:
            details.start()
        due_work = background.DueWork(
            store.outbox, handlers, housekeeping, details, dispatcher, clock=self._clock
        )
        return Services(
            settings=self._settings,
            flow=flow,
            list_tags=ListTags(poller, clock=self._clock),
            catalogue=self._catalogue(client),
            eraser=Eraser(store=store.erasures, client=client, clock=self._clock),
            importer=Importer(client, store.imports, clock=self._clock),
            reconciler=Reconciler(
                client, store, clock=clock, wake_dispatcher=dispatcher.wake, telemetry=telemetry
            ),
            telemetry=telemetry,
            store=store,
            is_redis_up=(lambda: redis_cache.is_up) if redis_cache else None,
            end_user=end_user,
            link_options=self._collaborators.link_options,
            default_link_options=self._settings.link_options,
            browser_modules=load_browser_modules(),
            openapi=openapi_document(),
            run_due=due_work.run,
            webhook_rejections=rejections,
            counting=counting,
        )

    async def _store(self) -> Store:
        url = self._settings.database_url.get_secret_value()
        store = self._closing(Store(url, environment=self._settings.environment, clock=self._clock))
        await store.open()
        return store

    def _memory_cache(self) -> MemoryLinkCache:
        size, lifetime_seconds = self._settings.link_cache_size, self._settings.lifetime_seconds
        return MemoryLinkCache(size=size, lifetime_seconds=lifetime_seconds, clock=self._clock)

    def _redis_client(self) -> RedisClient | None:
        if self._settings.redis_url is None or self._collaborators.link_cache is not None:
            return None
        url = self._settings.redis_url.get_secret_value()
        return self._closing(make_redis_client(self._settings, url))

    def _redis_cache(self, store: Store, client: RedisClient | None) -> FailoverLinkCache | None:
        if client is None:
            return None
        make_memory, clock = self._memory_cache, self._clock
        cache = make_redis_link_cache(self._settings, client, store, make_memory=make_memory, clock=clock)
        return self._closing(cache)

    def _kombo_client(self, redis_cache: FailoverLinkCache | None) -> KomboClient:
        share_cool_down = redis_cache.share_cool_down if redis_cache else None
        transport, clock = self._collaborators.http_transport, self._clock
        return self._closing(
            make_kombo_client(
                self._settings, clock=clock, share_cool_down=share_cool_down, transport=transport
            )
        )

    async def _poller(
        self, client: KomboClient, store: Store, redis_cache: FailoverLinkCache | None
    ) -> InvalidationPoller:
        cache: LinkCache | None = self._collaborators.link_cache
        if cache is None:
            cache = self._memory_cache() if redis_cache is None else redis_cache
        poller = InvalidationPoller(
            store.invalidations,
            cache,
            environment=self._settings.environment,
            lifetime_seconds=self._settings.lifetime_seconds,
            clock=self._clock,
            advance=redis_cache.advance if redis_cache else None,
        )
        store.apply_invalidations_by(poller.apply)
        await self._closing(poller).start()
        if redis_cache is not None:
            await redis_cache.open(apply_cool_down=client.apply_cool_down)
        return poller

    def _rate(self, name: str, rate: str, storage: BoundedStorage) -> EndUserRate:
        scope = (self._settings.account, self._settings.environment)
        secret = "".join(self._settings.encryption_keys[:1])
        customers = BoundedStorage(size=self._settings.link_cache_size, clock=self._clock)
        return EndUserRate(rate, name=name, scope=scope, storage=storage, customers=customers, secret=secret)

    def _links(
        self, client: KomboClient, store: Store, cache: LinkCache, rates: BoundedStorage
    ) -> LinkIssuer:
        links = LinkIssuer(
            settings=self._settings,
            client=client,
            cache=cache,
            store=store,
            rate=self._rate("link", self._settings.link_rate, rates),
            clock=self._clock,
            telemetry=self._telemetry,
        )
        return self._closing(links)

    def _flow(
        self, client: KomboClient, store: Store, links: LinkIssuer, rates: BoundedStorage, wake: Wake
    ) -> ConnectionFlow:
        rate = self._rate("completion", self._settings.completion_rate, rates)
        clock, telemetry = self._clock, self._telemetry
        completions = Completions(
            client=client, store=store, rate=rate, clock=clock, wake=wake, telemetry=telemetry
        )
        return ConnectionFlow(
            settings=self._settings,
            client=client,
            links=links,
            store=store,
            completions=self._closing(completions),
            deletion_rate=self._rate("deletion", self._settings.completion_rate, rates),
            wake=wake,
        )

    def _details_reader(self, client: KomboClient, store: Store, dispatcher: Dispatcher) -> DetailsReader:
        reader = background.build_details_reader(
            self._settings, client, store, clock=self._clock, wake_dispatcher=dispatcher.wake
        )
        return self._closing(reader)

    async def _start_background_work(
        self, client: KomboClient, store: Store, dispatcher: Dispatcher, counting: Counting
    ) -> Housekeeping:
        clock, telemetry, wake = self._clock, self._telemetry, dispatcher.wake
        build = self._settings, client, store
        housekeeping, *others = background.build_periodic_work(
            *build, clock=clock, wake_dispatcher=wake, telemetry=telemetry
        )
        if self._collaborators.background:
            for work in (housekeeping, counting, *others):
                self._closing(work).start()
            await dispatcher.start()
        return housekeeping

    def _catalogue(self, client: KomboClient) -> ToolCatalogue:
        allowed = self._settings.allowed_tools
        return self._closing(ToolCatalogue(client, allowed=allowed, clock=self._clock))

    def _closing(self, part: Part) -> Part:
        self._stack.push_async_callback(part.aclose)
        return part
