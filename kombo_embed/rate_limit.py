"""How often each end user may do something: a moving window, counted in this process or, in Redis, by all.

The moving window is the strategy of the library ``limits`` that is exact: no burst of twice the rate where
two windows meet, and the time until the next one is allowed, which ``Retry-After`` tells, is known. It keeps
one time per act, which for rates such as 20 a minute is little.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any, TypeVar

from limits import parse
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import StorageError

from kombo_embed.errors import RateLimited
from kombo_embed.models import EndUser
from kombo_embed.ports import Clock

KEPT_END_USERS = 100_000
SWEPT_PER_ACT = 2
DEADLINE = 0.04  # seconds for Redis to count
CONNECT_DEADLINE = 1.0  # seconds for it at the start

Counted = TypeVar("Counted")


class EndUserRate:
    """Lets each end user do one kind of thing so often.

    Args:
        rate: For example ``20/minute``.
        name: What is counted; two that share a storage need two names.
        environment: The Kombo environment, which keeps end users of one name apart.
        clock: Where time comes from.
        storage: Where it is counted; by default in this process.
        secret: What the names of end users are hashed with, so that nobody finds them by guessing.
    """

    def __init__(
        self,
        rate: str,
        *,
        name: str,
        environment: str,
        clock: Clock,
        storage: Storage | None = None,
        secret: str = "",
    ) -> None:
        self._rate = rate
        self._limit = parse(rate)
        self._name = name
        self._environment = environment
        self._clock = clock
        self._secret = hashlib.sha256(secret.encode()).digest()
        if storage is None:
            storage = BoundedStorage(size=KEPT_END_USERS, clock=clock)
        self._window = MovingWindowRateLimiter(storage)

    async def spend(self, end_user: EndUser) -> None:
        """Count once more for this end user.

        Raises:
            RateLimited: It was done too often; nothing was counted.
        """
        who = self._key(end_user)
        if await self._window.hit(self._limit, self._name, who):
            return
        window = await self._window.get_window_stats(self._limit, self._name, who)
        seconds = math.ceil(window.reset_time - self._clock.time())
        raise RateLimited(
            f"This was asked for too often: {self._rate} is allowed.",
            retry_after=min(max(1, seconds), self._limit.get_expiry()),
        )

    def _key(self, end_user: EndUser) -> str:
        """A hash: the parts cannot run into each other, and no storage learns an email."""
        whole = json.dumps([self._environment, end_user.origin_id, end_user.email])
        return hashlib.blake2b(whole.encode(), key=self._secret, digest_size=32).hexdigest()


class BoundedStorage(MemoryStorage):
    """The library's storage in memory, without its background task, on a clock that is never set back.

    That task looks at every key, in threads, whenever something is counted, and outlives whoever started it.
    Here each act looks at the two keys that were used longest ago. Beyond ``size``, those are forgotten.

    Args:
        size: How many end users are remembered.
        clock: Where time comes from.
    """

    def __init__(self, *, size: int, clock: Clock) -> None:
        super().__init__()
        self._size = size
        self._clock = clock
        self._acts: dict[str, deque[float]] = {}  # the last used key comes last

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count ``amount`` acts, if fewer than the limit are left of the last ``expiry`` seconds."""
        now = self._clock.monotonic()
        acts = self._acts.pop(key, None) or deque()
        while acts and acts[0] <= now - expiry:
            acts.popleft()
        allowed = len(acts) + amount <= limit
        if allowed:
            acts.extend([now] * amount)
        self._acts[key] = acts
        self._sweep(now - expiry)
        return allowed

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the oldest act that still counts was (seconds since the epoch), and how many there are."""
        del limit
        now = self._clock.monotonic()
        acts = [act for act in self._acts.get(key, ()) if act > now - expiry]
        return self._clock.time() - (now - acts[0] if acts else 0), len(acts)

    def __len__(self) -> int:
        return len(self._acts)

    def _sweep(self, ended: float) -> None:
        for key in list(islice(self._acts, SWEPT_PER_ACT)):
            acts = self._acts[key]
            if not acts or acts[-1] <= ended or len(self._acts) > self._size:
                del self._acts[key]


class SharedStorage(BoundedStorage):
    """Counts in Redis, for all processes; in this process's memory while Redis does not tell in time.

    Args:
        url: Of Redis, as in ``KOMBO_REDIS_URL``.
        is_up: Whether Redis is known to be there.
        size: How many end users are remembered in memory.
        clock: Where time comes from.
    """

    def __init__(self, url: str, *, is_up: Callable[[], bool], size: int, clock: Clock) -> None:
        super().__init__(size=size, clock=clock)
        self._is_up = is_up
        named = f"async+redis+{url}" if url.startswith("unix:") else f"async+{url}"
        self._redis = RedisStorage(
            named, wrap_exceptions=True, implementation="redispy", key_prefix="kombo-embed:rate"
        )

    async def open(self) -> None:
        """Connect, so that the first act need not; whether it succeeds is seen then."""
        await self._in_redis(self._redis.check, within=CONNECT_DEADLINE)

    async def aclose(self) -> None:
        """Close the connections."""
        bridge: Any = self._redis.bridge  # the library closes nothing, and types nothing of this
        await bridge.storage.aclose()

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count ``amount`` acts, if fewer than the limit are left of the last ``expiry`` seconds."""
        counted = await self._in_redis(lambda: self._redis.acquire_entry(key, limit, expiry, amount))
        return await super().acquire_entry(key, limit, expiry, amount) if counted is None else counted

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the oldest act that still counts was (seconds since the epoch), and how many there are."""
        window = await self._in_redis(lambda: self._redis.get_moving_window(key, limit, expiry))
        return await super().get_moving_window(key, limit, expiry) if window is None else window

    async def _in_redis(
        self, count: Callable[[], Awaitable[Counted]], *, within: float = DEADLINE
    ) -> Counted | None:
        if not self._is_up():
            return None
        try:
            async with asyncio.timeout(within):
                return await count()
        except (StorageError, OSError, TimeoutError):
            return None  # whether Redis is gone is found out, and said, by the link cache
