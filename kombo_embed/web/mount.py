"""The composition root: the one place that chooses the adapters and joins them.

Everything that a running mount needs is opened here, in order, and closed in the reverse order.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import resources

from kombo_embed.auth.host import CallableResolver
from kombo_embed.catalog import ToolCatalog
from kombo_embed.errors import ConfigurationError
from kombo_embed.flow import ConnectionFlow
from kombo_embed.hooks import HookRunner
from kombo_embed.issuing import LinkIssuer
from kombo_embed.kombo.client import KomboClient
from kombo_embed.links.drop_watch import DropWatch
from kombo_embed.links.memory import MemoryLinkCache
from kombo_embed.ports import Collaborators, EventHandler
from kombo_embed.settings import Settings, misspelt_variables
from kombo_embed.store.store import SqlStore
from kombo_embed.web.endpoints import Services

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
    if brought.end_user is None:
        raise ConfigurationError(
            "kombo-embed cannot start: nothing says who is signed in. Pass KomboEmbed(end_user=...)."
        )
    if not settings.is_private:
        logger.warning("KOMBO_API_URL is http to another machine: the API key travels unencrypted")
    for name, meant in misspelt_variables(settings.prefix):
        logger.warning("%s is not a setting of kombo-embed; did you mean %s?", name, meant)
    clock = brought.clock or time
    async with AsyncExitStack() as stack:
        store = brought.store
        if store is None:
            url = settings.database_url.get_secret_value()
            store = SqlStore(url, environment=settings.environment, clock=clock)
        stack.push_async_callback(store.close)
        await store.open()
        client = KomboClient(
            base_url=settings.base_url,
            api_key=settings.api_key.get_secret_value(),
            timeout=settings.timeout,
            connect_timeout=settings.connect_timeout,
            clock=clock,
            transport=brought.http_transport,
        )
        stack.push_async_callback(client.aclose)
        hooks = HookRunner(store.outbox, handlers, clock=clock)
        stack.push_async_callback(hooks.aclose)
        cache = brought.link_cache
        if cache is None:
            cache = MemoryLinkCache(size=settings.link_cache_size, lifetime=settings.lifetime, clock=clock)
        drops = DropWatch(
            store, cache, environment=settings.environment, lifetime=settings.lifetime, clock=clock
        )
        stack.push_async_callback(drops.aclose)
        await drops.start()
        links = LinkIssuer(
            settings=settings, client=client, cache=cache, store=store, drops=drops, clock=clock
        )
        stack.push_async_callback(links.aclose)
        flow = ConnectionFlow(
            settings=settings, client=client, links=links, store=store, wake_hooks=hooks.wake
        )
        stack.push_async_callback(flow.aclose)
        catalog = ToolCatalog(client, allowed=settings.allowed_tools, clock=clock)
        stack.push_async_callback(catalog.aclose)
        hooks.start()
        yield Services(
            settings=settings,
            flow=flow,
            catalog=catalog,
            store=store,
            end_user=CallableResolver(brought.end_user),
            link_options=brought.link_options,
            browser_module=_browser_module(),
        )


def _browser_module() -> bytes | None:
    module = resources.files("kombo_embed") / BROWSER_MODULE
    if module.is_file():
        return module.read_bytes()
    logger.warning(
        "browser_module.missing: kombo-embed was installed without npm, so GET /kombo-embed.js answers 404; "
        "install Node.js, then install kombo-embed again"
    )
    return None
