"""Limits how often each end user may do one thing, in this process or, with Redis, in all of them.

The strategy is the moving window of the library ``limits``: it is exact, so two adjacent windows allow no
burst of twice the rate, and the seconds until the next hit is allowed (``Retry-After``) are known. It keeps
one time per hit, which is little for rates such as 20 a minute.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import TYPE_CHECKING, NoReturn, TypeVar

from limits import parse
from limits.aio.storage import MovingWindowSupport, RedisStorage, Storage
from limits.aio.strategies import MovingWindowRateLimiter

from kombo_embed.errors import RateLimited
from kombo_embed.models import EndUser
from kombo_embed.ports import Clock

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool

SWEPT_PER_HIT = 2
DEADLINE_SECONDS = 0.25  # for Redis to count
CONNECT_SECONDS = 1.0

Reply = TypeVar("Reply")


class EndUserRate:
    """Limits how often each end user may do one thing, for example ``20/minute``.

    Limits that share a storage need different names. ``secret`` is the key of the hash that replaces the end
    user's identity in the storage.
    """

    def __init__(
        self, rate: str, *, name: str, environment: str, clock: Clock, storage: Storage, secret: str = ""
    ) -> None:
        self._rate = rate
        self._limit = parse(rate)
        self._name = name
        self._environment = environment
        self._clock = clock
        self._secret = hashlib.sha256(secret.encode()).digest()
        self._window = MovingWindowRateLimiter(storage)

    async def spend(self, end_user: EndUser) -> None:
        """Count one more hit of this end user; raise `RateLimited`, counting nothing, at the limit."""
        key = self._key(end_user)
        if not await self._window.hit(self._limit, self._name, key):
            raise await self._limited(key)

    async def check(self, end_user: EndUser) -> None:
        """Raise `RateLimited` if `spend` would; count nothing."""
        key = self._key(end_user)
        if not await self._window.test(self._limit, self._name, key):
            raise await self._limited(key)

    async def _limited(self, key: str) -> RateLimited:
        window = await self._window.get_window_stats(self._limit, self._name, key)
        seconds = math.ceil(window.reset_time - self._clock.time())
        return RateLimited(
            f"Too many requests: {self._rate} is allowed.",
            retry_after=min(max(1, seconds), self._limit.get_expiry()),
        )

    def _key(self, end_user: EndUser) -> str:
        # JSON keeps the parts apart, and the hash keeps the email out of the storage.
        parts = json.dumps([self._environment, end_user.origin_id, end_user.email])
        return hashlib.blake2b(parts.encode(), key=self._secret, digest_size=32).hexdigest()


class BoundedStorage(Storage, MovingWindowSupport):
    """Counts in memory, on a clock that is never set back, without background tasks.

    Each hit also checks the two end users that were active longest ago, and removes them if their hits have
    expired, or if more than ``size`` end users are remembered.
    """

    def __init__(self, *, size: int, clock: Clock) -> None:
        super().__init__()
        self._size = size
        self._clock = clock
        self._hits: dict[str, deque[float]] = {}  # the most recently active key is the last

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """Return no exceptions: memory does not fail."""
        return ()

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count ``amount`` hits if that stays within the limit for the last ``expiry`` seconds."""
        now = self._clock.monotonic()
        hits = self._hits.pop(key, None) or deque()
        while hits and hits[0] <= now - expiry:
            hits.popleft()
        is_allowed = len(hits) + amount <= limit
        if is_allowed:
            hits.extend([now] * amount)
        self._hits[key] = hits
        self._sweep(now - expiry)
        return is_allowed

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return the time of the oldest hit that still counts, since the epoch, and how many count."""
        del limit
        now = self._clock.monotonic()
        hits = [hit for hit in self._hits.get(key, ()) if hit > now - expiry]
        return self._clock.time() - (now - hits[0] if hits else 0), len(hits)

    async def check(self) -> bool:
        """Return whether the storage can be used."""
        return True

    async def clear(self, key: str) -> None:
        """Forget the hits of this key."""
        self._hits.pop(key, None)

    async def reset(self) -> int:
        """Forget all hits; return of how many keys."""
        count = len(self._hits)
        self._hits.clear()
        return count

    async def _reject(self, *_: object, **__: object) -> NoReturn:
        raise NotImplementedError

    incr = get = get_expiry = _reject  # of the fixed-window strategy

    def __len__(self) -> int:
        return len(self._hits)

    def _sweep(self, expired_before: float) -> None:
        for key in list(islice(self._hits, SWEPT_PER_HIT)):
            hits = self._hits[key]
            if not hits or hits[-1] <= expired_before or len(self._hits) > self._size:
                del self._hits[key]


class SharedStorage(BoundedStorage):
    """Counts in Redis, for all processes; in this process's memory while Redis misses the deadline."""

    def __init__(self, pool: ConnectionPool, *, is_up: Callable[[], bool], size: int, clock: Clock) -> None:
        super().__init__(size=size, clock=clock)
        self._is_up = is_up
        self._pool = pool
        self._redis = RedisStorage(
            "async+redis://",  # the pool has the address
            implementation="redispy",
            key_prefix="kombo-embed:rate",
            connection_pool=pool,  # type: ignore[arg-type] # documented, but not annotated
        )

    async def open(self) -> None:
        """Connect, so that the first hit does not wait for it. The link cache reports a failure."""
        await self._in_redis(self._redis.check, within_seconds=CONNECT_SECONDS)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count ``amount`` hits if that stays within the limit for the last ``expiry`` seconds."""
        is_allowed = await self._in_redis(lambda: self._redis.acquire_entry(key, limit, expiry, amount))
        return await super().acquire_entry(key, limit, expiry, amount) if is_allowed is None else is_allowed

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return the time of the oldest hit that still counts, since the epoch, and how many count."""
        window = await self._in_redis(lambda: self._redis.get_moving_window(key, limit, expiry))
        return await super().get_moving_window(key, limit, expiry) if window is None else window

    async def _in_redis(
        self, work: Callable[[], Awaitable[Reply]], *, within_seconds: float = DEADLINE_SECONDS
    ) -> Reply | None:
        if not self._is_up():
            return None
        try:
            async with asyncio.timeout(within_seconds):
                return await work()
        except Exception:  # noqa: BLE001 - redis-py raises more than its own errors
            return None  # the link cache detects and logs an outage
