"""The composition root: the one place that chooses the adapters and joins them.

Everything that a running mount needs is opened here, in order, and closed in the reverse order.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from importlib import resources
from typing import TYPE_CHECKING

from kombo_embed.catalog import ToolCatalog
from kombo_embed.clock import SystemClock
from kombo_embed.errors import ConfigurationError
from kombo_embed.flow import ConnectionFlow
from kombo_embed.hooks import HookRunner
from kombo_embed.housekeeping import Housekeeping
from kombo_embed.issuing import LinkIssuer
from kombo_embed.kombo.client import KomboClient
from kombo_embed.links.drop_watch import DropWatch
from kombo_embed.links.memory import MemoryLinkCache
from kombo_embed.ports import Clock, Collaborators, EventHandler, Store
from kombo_embed.rates import BoundedStorage, EndUserRate, SharedStorage
from kombo_embed.reconciling import Reconciler
from kombo_embed.redeliveries import Redeliveries
from kombo_embed.settings import Settings, misspelt_variables
from kombo_embed.shared_settings import is_on_this_machine
from kombo_embed.store.store import SqlStore
from kombo_embed.web.endpoints import Services
from kombo_embed.web.identity import choose_resolver
from kombo_embed.web.openapi import openapi_document

if TYPE_CHECKING:
    from kombo_embed.links.shared import SharedLinkCache

logger = logging.getLogger("kombo_embed")

BROWSER_MODULE = "web/static/kombo-embed.js"  # built from frontend_snippet/ by hatch_build.py


@asynccontextmanager
async def opened_services(
    settings: Settings, brought: Collaborators, handlers: Mapping[str, Sequence[EventHandler]]
) -> AsyncIterator[Services]:
    """Open everything, give it, and close it again.

    Raises:
        ConfigurationError: Nothing says who is signed in.
        StoreUnavailable: The database cannot be opened.
    """
    if not settings.is_private:
        logger.warning("KOMBO_API_URL is http to another machine: the API key travels unencrypted")
    for name, meant in misspelt_variables(settings.prefix):
        logger.warning("%s is not a setting of kombo-embed; did you mean %s?", name, meant)
    clock = brought.clock or SystemClock()
    async with AsyncExitStack() as stack:
        resolver = choose_resolver(settings, brought, clock=clock, stack=stack)
        store = brought.store
        if store is None:
            url = settings.database_url.get_secret_value()
            store = SqlStore(url, environment=settings.environment, clock=clock)
        stack.push_async_callback(store.close)
        await store.open()
        shared = None if brought.link_cache is not None else _shared_links(settings, store, clock, stack)
        client = KomboClient(
            base_url=settings.base_url,
            api_key=settings.api_key.get_secret_value(),
            timeout=settings.timeout,
            connect_timeout=settings.connect_timeout,
            clock=clock,
            tell_cool_down=shared.tell_cool_down if shared else None,
            transport=brought.http_transport,
        )
        stack.push_async_callback(client.aclose)
        hooks = HookRunner(store.outbox, handlers, clock=clock)
        stack.push_async_callback(hooks.aclose)
        cache = brought.link_cache if brought.link_cache is not None else shared
        if cache is None:
            cache = _memory(settings, clock)
        drops = DropWatch(
            store, cache, environment=settings.environment, lifetime=settings.lifetime, clock=clock
        )
        stack.push_async_callback(drops.aclose)
        await drops.start()
        if shared is not None:
            await shared.open(heed=client.heed)
        rates = await _rates(settings, shared, clock, stack)
        links = LinkIssuer(
            settings=settings,
            client=client,
            cache=cache,
            store=store,
            rate=_rate("link", settings.link_rate, rates, settings, clock),
            drops=drops,
            clock=clock,
        )
        stack.push_async_callback(links.aclose)
        flow = ConnectionFlow(
            settings=settings,
            client=client,
            links=links,
            store=store,
            completion_rate=_rate("completion", settings.completion_rate, rates, settings, clock),
            redeliveries=Redeliveries(clock=clock),
            wake_hooks=hooks.wake,
        )
        stack.push_async_callback(flow.aclose)
        housekeeping = Housekeeping(
            store,
            retention=timedelta(days=settings.event_retention),
            clock=clock,
            wake_hooks=hooks.wake,
        )
        stack.push_async_callback(housekeeping.aclose)
        catalog = ToolCatalog(client, allowed=settings.allowed_tools, clock=clock)
        stack.push_async_callback(catalog.aclose)
        hooks.start()
        housekeeping.start()
        yield Services(
            settings=settings,
            flow=flow,
            catalog=catalog,
            store=store,
            end_user=resolver,
            link_options=brought.link_options,
            own_link_options=settings.link_options,
            browser_module=_browser_module(),
            openapi=openapi_document(),
            reconcile=lambda on_progress, *, delete_all_unknown: Reconciler(
                client, store, clock=clock, wake_hooks=hooks.wake
            ).run(on_progress, delete_all_unknown=delete_all_unknown),
            shared_links=shared,
        )


def _memory(settings: Settings, clock: Clock) -> MemoryLinkCache:
    return MemoryLinkCache(size=settings.link_cache_size, lifetime=settings.lifetime, clock=clock)


def _rate(name: str, rate: str, storage: BoundedStorage, settings: Settings, clock: Clock) -> EndUserRate:
    keys = [key.get_secret_value() for key in settings.link_encryption_keys[:1]]
    return EndUserRate(
        rate,
        name=name,
        environment=settings.environment,
        clock=clock,
        storage=storage,
        secret="".join(keys),
    )


async def _rates(
    settings: Settings, shared: SharedLinkCache | None, clock: Clock, stack: AsyncExitStack
) -> BoundedStorage:
    if shared is None or settings.redis_url is None:
        return BoundedStorage(size=settings.link_cache_size, clock=clock)
    url = settings.redis_url.get_secret_value()
    rates = SharedStorage(url, is_up=lambda: shared.is_up, size=settings.link_cache_size, clock=clock)
    stack.push_async_callback(rates.aclose)
    await rates.open()
    return rates


def _shared_links(
    settings: Settings, store: Store, clock: Clock, stack: AsyncExitStack
) -> SharedLinkCache | None:
    if settings.redis_url is None:
        return None
    try:
        from kombo_embed.links import redis, redis_line, sealing, shared  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigurationError(
            f"kombo-embed cannot start: {settings.prefix}REDIS_URL is set, but the Redis client is missing. "
            "Install kombo-embed with its extra 'redis'."
        ) from None
    url = settings.redis_url.get_secret_value()
    keys = [key.get_secret_value() for key in settings.link_encryption_keys]
    if not keys and not is_on_this_machine(url):
        logger.warning(
            "links.unsealed: %sLINK_ENCRYPTION_KEYS is not set: whoever reads Redis can use its links",
            settings.prefix,
        )
    line = redis_line.RedisLine(url)
    stack.push_async_callback(line.aclose)
    links = redis.RedisLinks(
        line,
        sealing.Seal(keys),
        environment=settings.environment,
        lifetime=settings.lifetime,
        margin=settings.margin,
        clock=clock,
    )
    cache = shared.SharedLinkCache(
        links,
        make_memory=lambda: _memory(settings, clock),
        find_drops=lambda: store.find_drops(after=0),
        environment=settings.environment,
        patience=settings.timeout,
        clock=clock,
    )
    stack.push_async_callback(cache.aclose)
    return cache


def _browser_module() -> bytes | None:
    module = resources.files("kombo_embed") / BROWSER_MODULE
    if module.is_file():
        return module.read_bytes()
    logger.warning(
        "browser_module.missing: kombo-embed was installed without npm, so GET /kombo-embed.js answers 404; "
        "install Node.js, then install kombo-embed again"
    )
    return None
