"""How often each end user may do something: a moving window, counted in this process.

The moving window is the strategy of the library ``limits`` that is exact: no burst of twice the rate where
two windows meet, and the time until the next one is allowed, which ``Retry-After`` tells, is known. It keeps
one time per act, which for rates such as 20 a minute is little.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import deque
from itertools import islice

from limits import parse
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import MovingWindowRateLimiter

from kombo_embed.errors import RateLimited
from kombo_embed.models import EndUser
from kombo_embed.ports import Clock

KEPT_END_USERS = 100_000
SWEPT_PER_ACT = 2


class EndUserRate:
    """Lets each end user do one kind of thing so often.

    Args:
        rate: For example ``20/minute``.
        name: What is counted; two that share a storage need two names.
        environment: The Kombo environment, which keeps end users of one name apart.
        clock: Where time comes from.
        storage: Where it is counted; by default in this process.
    """

    def __init__(
        self, rate: str, *, name: str, environment: str, clock: Clock, storage: Storage | None = None
    ) -> None:
        self._rate = rate
        self._limit = parse(rate)
        self._name = name
        self._environment = environment
        self._clock = clock
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
        return hashlib.sha256(whole.encode()).hexdigest()


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
