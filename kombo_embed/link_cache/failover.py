"""The link cache of all processes: Redis, and while that is gone, this process's own memory.

Every hit reads Redis, so a drop is seen by all at once. When Redis fails, whoever asks is answered from
memory within its short deadline, and nobody asks it again until it was seen to be well: then it is told all
that was dropped in the last hour, before it is read.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from kombo_embed.errors import KomboTimeout, StoreUnavailable
from kombo_embed.link_cache.memory import MemoryLinkCache
from kombo_embed.link_cache.redis import ID_BYTES, LEASE, Held, Lease, RedisLinkStore
from kombo_embed.link_cache.redis_line import RedisGone
from kombo_embed.link_cache.turns import FulfilledLease, RedisMintLease
from kombo_embed.models import CacheKey, ConnectionLink
from kombo_embed.ports import Clock, CoolDown, Invalidation, MintLease

logger = logging.getLogger("kombo_embed.links")

TEND = 1.0  # seconds between looks at Redis, be it gone or not
TEND_SOON = 0.1  # seconds until the first look after it was lost: often it was only slow once
TEND_MAX = 30.0  # seconds, where it comes and goes
STEADY = 10.0  # seconds after which one that came back is taken to stay
POLL_FIRST, POLL_MAX = 0.02, 0.1  # seconds between looks for what another process mints
TOLD_AT_ONCE = 200  # drops


class FailoverLinkCache:
    """Links that all processes share. `open` it before use, and close it with `aclose`.

    Args:
        links: The links in Redis.
        make_memory: Makes the cache that takes over while Redis is gone.
        find_invalidations: Gives the drops of the last hour.
        environment: Whose links and drops.
        patience: Seconds to wait for one mint of another process.
        clock: Where time comes from.
    """

    def __init__(
        self,
        links: RedisLinkStore,
        *,
        make_memory: Callable[[], MemoryLinkCache],
        find_invalidations: Callable[[], Awaitable[Sequence[Invalidation]]],
        environment: str,
        patience: float,
        clock: Clock,
    ) -> None:
        self._links = links
        self._make_memory = make_memory
        self._memory = make_memory()
        self._find_drops = find_invalidations
        self._environment = environment
        self._apply_cool_down: Callable[[CoolDown], None] | None = None
        self._patience = max(patience, LEASE / 1000) + 1
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._drops_heard = 0
        self._pause = TEND
        self._back_at = -math.inf
        self._said_gone = False
        self._lost = asyncio.Event()
        self.is_up = False

    async def open(self, *, apply_cool_down: Callable[[CoolDown], None]) -> None:
        """Connect, or say that Redis is gone; it is looked for from now on.

        Args:
            apply_cool_down: Called with of each wait that Kombo asked another process for.
        """
        self._apply_cool_down = apply_cool_down
        try:
            await self._restore()
        except (RedisGone, StoreUnavailable) as error:
            self._say_gone(error)
        self._start(self._tend())

    async def aclose(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def get(self, key: CacheKey) -> ConnectionLink | None:
        """The link kept for this key, if it is still valid."""
        if self.is_up:
            try:
                return await self._links.look(key)
            except RedisGone as error:
                self._lose(error)
        return await self._memory.get(key)

    @asynccontextmanager
    async def lease(self, key: CacheKey, *, fresh: bool) -> AsyncIterator[MintLease]:
        """Wait for the turn to mint this key's link, among all processes, or for the link of whoever has it.

        Raises:
            KomboEmbedError: As whoever had it failed, or Kombo told another process to wait.
        """
        async with self._memory.lease(key, fresh=fresh) as own:
            claimed = await self._claim(key, fresh=fresh)
            if claimed is None:
                yield own
            elif isinstance(claimed, Lease):
                async with self._held(claimed):
                    yield RedisMintLease(self._keep, claimed, own)
            else:
                yield FulfilledLease(claimed)

    async def invalidate(self, environment: str, invalidation: Invalidation) -> None:
        """Forget all links of an origin id, in all processes, also those being minted now."""
        self._drops_heard += 1
        await self._memory.invalidate(environment, invalidation)
        if self.is_up:
            try:
                await self._links.invalidate(environment, invalidation)
            except RedisGone as error:
                self._lose(error)  # it is told when it is back

    def share_cool_down(self, cool_down: CoolDown) -> None:
        """Have all processes leave Kombo alone for a while; soon, and without waiting for it."""
        if self.is_up:
            self._start(self._unless_gone(self._links.share_cool_down(cool_down)))

    async def _claim(self, key: CacheKey, *, fresh: bool) -> ConnectionLink | Lease | None:
        mint, awaited = secrets.token_bytes(ID_BYTES), b""
        loop = asyncio.get_running_loop()
        deadline, pause = 0.0, POLL_FIRST
        while self.is_up:
            try:
                claimed = await self._links.claim(key, mint=mint, awaited=awaited, fresh=fresh)
            except RedisGone as error:
                self._lose(error)
                break
            if not isinstance(claimed, Held):
                return claimed
            if claimed.mint != awaited:  # the one that was waited for may have died
                awaited, deadline, pause = claimed.mint, loop.time() + self._patience, POLL_FIRST
            if loop.time() > deadline:
                raise KomboTimeout(f"Another process did not mint this link within {self._patience:g} s.")
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - so that not all look at once
            pause = min(pause * 1.5, POLL_MAX)
        return None

    @asynccontextmanager
    async def _held(self, lease: Lease) -> AsyncIterator[None]:
        renewing = asyncio.get_running_loop().create_task(self._renew(lease), name="kombo-embed lease")
        failure: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failure = error
            raise
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            if lease.held and self.is_up:
                await self._unless_gone(self._links.give_up(lease, failure))

    async def _renew(self, lease: Lease) -> None:
        while self.is_up:
            await asyncio.sleep(LEASE / 1000 / 4)
            await self._unless_gone(self._links.renew(lease))

    async def _keep(self, lease: Lease, link: ConnectionLink, own: MintLease) -> bool:
        if self.is_up:
            try:
                return await self._links.keep(lease, link)
            except RedisGone as error:
                self._lose(error)
        return await own.put(link)

    async def _tend(self) -> None:
        while True:
            await self._wait()
            try:
                if not self.is_up:
                    await self._restore()
                elif (
                    cool_down := await self._links.cool_down()
                ) is not None and self._apply_cool_down is not None:
                    self._apply_cool_down(cool_down)
            except RedisGone as error:
                self._lose(error)
            except StoreUnavailable:
                continue  # without the drops, Redis is not to be read
            except Exception:
                # This loop is all that brings Redis back: whatever it was, it looks again.
                logger.exception("redis.failed: looking after it failed")

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(TEND if self.is_up else self._pause):
                await self._lost.wait()
        except TimeoutError:
            return
        self._lost.clear()
        await asyncio.sleep(TEND_SOON if self._pause == TEND else self._pause)

    async def _restore(self) -> None:
        await self._links.connect()
        heard = -1
        while heard != self._drops_heard:  # there may be more by the time that all are told
            heard = self._drops_heard
            drops = await self._find_drops()
            for begin in range(0, len(drops), TOLD_AT_ONCE):
                told = drops[begin : begin + TOLD_AT_ONCE]
                await asyncio.gather(*(self._links.invalidate(self._environment, drop) for drop in told))
        self._memory = self._make_memory()
        self.is_up = True
        if self._said_gone:
            self._back_at = self._clock.monotonic()
            logger.warning("redis.back: links are shared by all processes again")

    def _lose(self, error: RedisGone) -> None:
        if self.is_up:
            self.is_up = False
            steady = self._clock.monotonic() - self._back_at > STEADY
            self._pause = TEND if steady else min(self._pause * 2, TEND_MAX)
            self._lost.set()
            self._say_gone(error)

    def _say_gone(self, error: Exception) -> None:
        self._said_gone = True
        cause = error if isinstance(error, RedisGone) else type(error).__name__
        logger.warning("redis.gone: %s; until it is back, each process has links of its own", cause)

    async def _unless_gone(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except RedisGone as error:
            self._lose(error)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="kombo-embed redis")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
