"""Builds the parts that need Redis. Its libraries, an extra, are imported only when a URL is set."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from kombo_embed.errors import ConfigurationError
from kombo_embed.link_cache.memory import MemoryLinkCache
from kombo_embed.ports import Clock
from kombo_embed.rate_limit import BoundedStorage, SharedStorage
from kombo_embed.settings import Settings, is_on_this_machine
from kombo_embed.store.store import Store

if TYPE_CHECKING:
    from kombo_embed.link_cache.failover import FailoverLinkCache
    from kombo_embed.link_cache.redis import RedisLinkStore
    from kombo_embed.link_cache.redis_client import RedisClient

logger = logging.getLogger("kombo_embed")


def make_redis_client(settings: Settings, url: str) -> RedisClient:
    """Return a client of this server, not yet connected, or raise `ConfigurationError`."""
    try:
        from kombo_embed.link_cache.redis_client import RedisClient  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigurationError(
            f"kombo-embed cannot start: {settings.prefix}REDIS_URL is set, but the Redis client is not "
            "installed. Install kombo-embed with its extra 'redis'."
        ) from None
    if not settings.encryption_keys and not is_on_this_machine(url):
        variable = f"{settings.prefix}LINK_ENCRYPTION_KEYS"
        logger.warning("redis.unencrypted_links", extra={"variable": variable})
    return RedisClient(url)


def make_redis_links(settings: Settings, client: RedisClient, *, clock: Clock) -> RedisLinkStore:
    """Return the links in Redis, without failover."""
    from kombo_embed.link_cache import encryption, redis, redis_values  # noqa: PLC0415 - an extra

    return redis.RedisLinkStore(
        client,
        encryption.LinkCipher(settings.encryption_keys),
        scope=redis_values.Scope(settings.account, settings.environment, settings.base_url),
        lifetime_seconds=settings.lifetime_seconds,
        margin_seconds=settings.margin_seconds,
        clock=clock,
    )


def make_redis_link_cache(
    settings: Settings,
    client: RedisClient,
    store: Store,
    *,
    make_memory: Callable[[], MemoryLinkCache],
    clock: Clock,
) -> FailoverLinkCache:
    """Return the link cache that all processes share."""
    # An extra.
    from kombo_embed.link_cache import encryption, failover, redis_position  # noqa: PLC0415

    cipher = encryption.LinkCipher(settings.encryption_keys)
    links = make_redis_links(settings, client, clock=clock)
    position = redis_position.RedisPosition(
        client, cipher, links=links, log=store.invalidations, database=store.name
    )
    return failover.FailoverLinkCache(
        links,
        make_memory=make_memory,
        position=position,
        environment=settings.environment,
        mint_timeout_seconds=settings.timeout,
        clock=clock,
    )


def make_rate_storage(
    settings: Settings, client: RedisClient | None, cache: FailoverLinkCache | None, *, clock: Clock
) -> BoundedStorage:
    """Return where rates are counted: in Redis, if it is used and up, else in this process."""
    if client is None or cache is None:
        return BoundedStorage(size=settings.link_cache_size, clock=clock)
    return SharedStorage(client.run, is_up=lambda: cache.is_up, size=settings.link_cache_size, clock=clock)
