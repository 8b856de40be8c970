"""The link cache of several processes: Redis, with failover to process memory.

Every hit reads Redis, so an invalidation takes effect in all processes at once. If Redis misses its deadline,
fall back to process memory. Before reads resume, apply the invalidations after the position that is in Redis.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from kombo_embed.errors import ConfigurationError, KomboTimeout, StoreUnavailable
from kombo_embed.link_cache.memory import MemoryLinkCache
from kombo_embed.link_cache.mint_lease import RedisLease, SharedMintLease
from kombo_embed.link_cache.redis import ID_BYTES, RedisLinkStore
from kombo_embed.link_cache.redis_client import RedisTimeout, RedisUnavailable, RedisUnusable
from kombo_embed.link_cache.redis_position import RedisPosition
from kombo_embed.models import CacheKey, ConnectionLink
from kombo_embed.ports import Clock, CoolDown, Invalidation, MintLease

logger = logging.getLogger("kombo_embed.link_cache")

CHECK_SECONDS = 1.0  # between checks, whether Redis is up or down
FIRST_CHECK_SECONDS = 0.1  # after an outage began: often Redis was slow once
MAX_CHECK_SECONDS = 30.0  # if Redis keeps coming and going
STABLE_SECONDS = 10.0  # after which a recovery counts as lasting
FIRST_POLL_SECONDS, MAX_POLL_SECONDS = 0.02, 0.1  # between looks at another process's mint
MINTS_WAITED_FOR = 3  # mints of other processes, one after the other


class FailoverLinkCache:
    """A link cache that all processes share. `open` it before use, and close it with `aclose`.

    ``make_memory`` returns an empty cache for the time of an outage. ``position`` is that of invalidations in
    Redis. ``mint_timeout_seconds`` limits the wait for one mint of another process.
    """

    def __init__(
        self,
        store: RedisLinkStore,
        *,
        make_memory: Callable[[], MemoryLinkCache],
        position: RedisPosition,
        environment: str,
        mint_timeout_seconds: float,
        clock: Clock,
    ) -> None:
        self._store = store
        self._make_memory = make_memory
        self._memory = make_memory()
        self._position = position
        self._environment = environment
        self._mint_timeout_seconds = max(mint_timeout_seconds, store.lease_seconds) + 1
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._invalidation_count = 0
        self._check_seconds = CHECK_SECONDS
        self._recovered_at = -math.inf
        self._logged_error: str | None = None  # of this outage
        self._failed = asyncio.Event()
        self.is_up = False

    async def open(self, *, apply_cool_down: Callable[[CoolDown], None]) -> None:
        """Connect, or log that Redis is unavailable. Pass on the cool-downs that other processes share.

        Raises `ConfigurationError` if Redis answers but can never be used as it is configured.
        """
        with suppress(StoreUnavailable), self._failover(even_if_late=True):
            try:
                await self._recover()
            except RedisUnusable as error:
                raise ConfigurationError(
                    f"kombo-embed cannot start: KOMBO_REDIS_URL cannot be used: {error}."
                ) from None
        self._start(self._monitor(apply_cool_down))

    async def aclose(self) -> None:
        """Cancel the background work."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def get(self, key: CacheKey) -> ConnectionLink | None:
        """Return the cached link of this key if it is still valid."""
        if self.is_up:
            with self._failover():
                return await self._store.get(key)
        return await self._memory.get(key)

    @asynccontextmanager
    async def lease(self, key: CacheKey, *, fresh: bool) -> AsyncIterator[MintLease]:
        """Wait for the lease to mint this key's link, or for the link that another process mints.

        Raises the `KomboEmbedError` of the other process, or the one that Kombo's cool-down means.
        """
        async with self._memory.lease(key, fresh=fresh) as local:
            acquired = await self._acquire(key, fresh=fresh)
            if acquired is None:
                yield local
            elif isinstance(acquired, RedisLease):
                async with self._renewed(acquired):
                    yield SharedMintLease(lambda link: self._put(acquired, local, link))
            else:
                yield SharedMintLease(link=acquired)

    async def invalidate(self, environment: str, invalidation: Invalidation) -> None:
        """Invalidate all links of an origin id in all processes, those being minted included."""
        self._invalidation_count += 1
        await self._memory.invalidate(environment, invalidation)
        if self.is_up and not 0 < invalidation.row_id <= self._position.value:
            with self._failover(even_if_late=True):  # the recovery applies it
                await self._store.invalidate(environment, invalidation)

    async def advance(self, position: int) -> None:
        """Record in Redis that this process has applied all invalidations up to this row id."""
        if self.is_up:
            with self._failover():
                await self._position.advance(position)

    def share_cool_down(self, cool_down: CoolDown) -> None:
        """Apply a cool-down to all processes, in the background."""
        if self.is_up:
            self._start(self._share(cool_down))

    async def _acquire(self, key: CacheKey, *, fresh: bool) -> ConnectionLink | RedisLease | None:
        """Return a lease, or the link of the process that holds it; None during an outage."""
        mint, awaited = secrets.token_bytes(ID_BYTES), b""
        now = asyncio.get_running_loop().time
        ends_at = now() + MINTS_WAITED_FOR * self._mint_timeout_seconds  # however often the holder changes
        deadline, pause = now() + self._mint_timeout_seconds, FIRST_POLL_SECONDS
        while self.is_up:
            with self._failover():
                acquired = await self._store.acquire(key, mint=mint, awaited=awaited, fresh=fresh)
                if not isinstance(acquired, bytes):
                    return acquired
                if acquired != awaited:  # the process that was waited for may have died
                    awaited, pause = acquired, FIRST_POLL_SECONDS
                    deadline = min(now() + self._mint_timeout_seconds, ends_at)
            if now() > deadline:
                if not awaited:
                    return None  # Redis answers others, but never this process in time
                raise KomboTimeout("Another process did not mint this link in time.")
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - so that not all poll at once
            pause = min(pause * 1.5, MAX_POLL_SECONDS)
        return None

    async def _put(self, lease: RedisLease, local: MintLease, link: ConnectionLink) -> bool:
        if self.is_up:
            with self._failover(even_if_late=True):  # whether the link was stored is unknown then
                return await self._store.put(lease, link)
        return await local.put(link)

    @asynccontextmanager
    async def _renewed(self, lease: RedisLease) -> AsyncIterator[None]:
        """Renew the lease until the context exits, then release it, with the failure if there is one."""
        renewal = asyncio.get_running_loop().create_task(self._renew(lease), name="kombo-embed lease")
        failure: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failure = error
            raise
        finally:
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)
            if lease.is_held and self.is_up:
                with self._failover():
                    await self._store.release(lease, failure)

    async def _renew(self, lease: RedisLease) -> None:
        while self.is_up:
            await asyncio.sleep(self._store.lease_seconds / 4)
            with self._failover():
                await self._store.renew(lease)

    async def _monitor(self, apply_cool_down: Callable[[CoolDown], None]) -> None:
        while True:
            await self._wait_for_check()
            try:
                with suppress(StoreUnavailable), self._failover():  # reads resume only after the replay
                    await self._check(apply_cool_down)
            except Exception:
                # Without this loop, an outage would never end.
                logger.exception("redis.monitor_failed")

    async def _check(self, apply_cool_down: Callable[[CoolDown], None]) -> None:
        if not self.is_up:
            await self._recover()
        elif (cool_down := await self._store.find_cool_down()) is not None:
            apply_cool_down(cool_down)

    async def _wait_for_check(self) -> None:
        try:
            async with asyncio.timeout(CHECK_SECONDS if self.is_up else self._check_seconds):
                await self._failed.wait()
        except TimeoutError:
            return
        self._failed.clear()
        is_first = self._check_seconds == CHECK_SECONDS
        await asyncio.sleep(FIRST_CHECK_SECONDS if is_first else self._check_seconds)

    async def _recover(self) -> None:
        await self._store.open()
        applied = -1
        while applied != self._invalidation_count:  # more may arrive meanwhile
            applied = self._invalidation_count
            await self._position.catch_up()
        self._memory = self._make_memory()
        self.is_up = True
        if self._logged_error is not None:
            self._logged_error = None
            self._recovered_at = self._clock.monotonic()
            logger.warning("redis.recovered")

    @contextmanager
    def _failover(self, *, even_if_late: bool = False) -> Iterator[None]:
        """Suppress `RedisUnavailable` and fail over; after a `RedisTimeout`, only with ``even_if_late``."""
        try:
            yield
        except RedisUnavailable as error:
            if isinstance(error, RedisTimeout) and not even_if_late:
                return
            is_news = isinstance(error, RedisUnusable) and str(error) != self._logged_error
            if self._logged_error is None or is_news:
                self._logged_error = str(error)
                logger.warning("redis.unavailable", extra={"error": str(error)})
            if self.is_up:
                self.is_up = False
                is_stable = self._clock.monotonic() - self._recovered_at > STABLE_SECONDS
                longer = min(self._check_seconds * 2, MAX_CHECK_SECONDS)
                self._check_seconds = CHECK_SECONDS if is_stable else longer
                self._failed.set()

    async def _share(self, cool_down: CoolDown) -> None:
        with self._failover():
            await self._store.share_cool_down(cool_down)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="kombo-embed redis")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
