"""Limits how often each end user may do one thing, in this process or, with Redis, in all of them.

All end users of one customer together have a limit, too, in each process: one person who can vary the email
of their identity, or has many accounts, is many end users.

The window moves with each hit: it is exact, so two adjacent windows allow no burst of twice the rate, and the
seconds until the next hit is allowed (``Retry-After``) are known. It keeps one time per hit, at most as many
as the rate allows, which is little for rates such as 20 a minute. The library ``limits`` parses the rates.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any, Final, Protocol

from limits import parse

from kombo_embed.errors import RateLimited
from kombo_embed.models import EndUser
from kombo_embed.ports import Clock

PER_CUSTOMER = 50  # times the rate, for all end users of an origin id
SWEPT_PER_HIT = 2
PATIENCE_SECONDS = 5.0  # for Redis to count the hits of a burst, while it answers at all

# KEYS hits. ARGV how many are allowed, in how many milliseconds; 1 to count this one. Returns the
# milliseconds until the next hit is allowed; 0 if this one is. Times are those of Redis's clock, the latest
# first. A value that is not ours, or a time too far in the future, is forgotten.
HIT: Final = """
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local oldest = redis.pcall('LINDEX', KEYS[1], limit - 1)
local is_ours = type(oldest) ~= 'table'
if oldest and is_ours then
    local left = (tonumber(oldest) or math.huge) + window - now
    if left > 0 and left <= 2 * window then return math.min(left, window) end
    is_ours = left <= 0
end
if ARGV[3] ~= '1' then return 0 end
if not is_ours then redis.call('DEL', KEYS[1]) end
redis.call('LPUSH', KEYS[1], string.format('%.0f', now))
redis.call('LTRIM', KEYS[1], 0, limit - 1)
redis.call('PEXPIRE', KEYS[1], window)
return 0
"""


class RunScript(Protocol):
    """Runs a script in Redis; raises any exception if Redis cannot be used."""

    def __call__(
        self, script: str, keys: list[bytes], *arguments: int, patience_seconds: float
    ) -> Awaitable[Any]:
        """Return the reply. A late one is awaited for ``patience_seconds`` while Redis answers others."""


class EndUserRate:
    """Limits how often each end user may do one thing, for example ``20/minute``.

    Limits that share a storage need different names. ``scope`` is the Kombo account and the environment.
    ``secret`` is the key of the hash that replaces all this in the storage. ``customers`` counts the hits of
    each origin id in this process, up to `PER_CUSTOMER` times the rate; without it there is no such limit.
    """

    def __init__(
        self,
        rate: str,
        *,
        name: str,
        scope: tuple[str, str],
        storage: BoundedStorage,
        customers: BoundedStorage | None = None,
        secret: str = "",
    ) -> None:
        limit = parse(rate)
        self._rate = rate
        self._amount, self._window_seconds = limit.amount, limit.get_expiry()
        self._name = name
        self._scope = scope
        self._secret = hashlib.sha256(secret.encode()).digest()
        self._storage = storage
        self._customers = customers

    async def spend(self, end_user: EndUser) -> None:
        """Count one more hit of this end user; raise `RateLimited`, counting nothing, at a limit."""
        await self._hit(end_user, is_counted=True)
        await self._hit_of_customer(end_user, is_counted=True)

    async def check(self, end_user: EndUser) -> None:
        """Raise `RateLimited` if `spend` would; count nothing."""
        await self._hit(end_user, is_counted=False)

    async def _hit(self, end_user: EndUser, *, is_counted: bool) -> None:
        key = self._key(end_user.origin_id, end_user.email)
        seconds = await self._hit_of_customer(end_user, is_counted=False)
        if seconds <= 0:
            seconds = await self._storage.hit(key, self._amount, self._window_seconds, is_counted=is_counted)
        if seconds > 0:
            raise RateLimited(
                f"Too many requests: {self._rate} is allowed.",
                retry_after=min(math.ceil(seconds), self._window_seconds),
            )

    async def _hit_of_customer(self, end_user: EndUser, *, is_counted: bool) -> float:
        if self._customers is None:
            return 0
        key, amount = self._key(end_user.origin_id), self._amount * PER_CUSTOMER
        return await self._customers.hit(key, amount, self._window_seconds, is_counted=is_counted)

    def _key(self, *who: str) -> str:
        # JSON keeps the parts apart, and the hash keeps the email out of the storage.
        parts = json.dumps([*self._scope, self._name, self._rate, *who])
        return hashlib.blake2b(parts.encode(), key=self._secret, digest_size=32).hexdigest()


class BoundedStorage:
    """Counts in memory, on a clock that is never set back, without background tasks.

    Each hit also checks the two end users that were active longest ago, and removes them if their hits have
    expired, or if more than ``size`` end users are remembered.
    """

    def __init__(self, *, size: int, clock: Clock) -> None:
        self._size = size
        self._clock = clock
        # Until when, and the times of the hits. The most recently active key is the last.
        self._hits: dict[str, tuple[float, deque[float]]] = {}

    async def hit(self, key: str, amount: int, window_seconds: int, *, is_counted: bool = True) -> float:
        """Count one more hit and return 0; at the limit, return the seconds until the next one is allowed.

        Without ``is_counted``, return the same and count nothing.
        """
        now = self._clock.monotonic()
        _, hits = self._hits.get(key, (now, deque[float]()))
        while hits and hits[0] <= now - window_seconds:
            hits.popleft()
        is_allowed = len(hits) < amount
        if is_counted:
            hits.extend([now] if is_allowed else [])
            self._hits.pop(key, None)
            self._hits[key] = (hits[-1] + window_seconds, hits)
            self._sweep(now)
        return 0 if is_allowed else hits[0] + window_seconds - now

    def __len__(self) -> int:
        return len(self._hits)

    def _sweep(self, now: float) -> None:
        for key in list(islice(self._hits, SWEPT_PER_HIT)):
            if self._hits[key][0] <= now or len(self._hits) > self._size:
                del self._hits[key]


class SharedStorage(BoundedStorage):
    """Counts in Redis, for all processes; in this process's memory while Redis cannot be used."""

    def __init__(self, run: RunScript, *, is_up: Callable[[], bool], size: int, clock: Clock) -> None:
        super().__init__(size=size, clock=clock)
        self._run = run
        self._is_up = is_up

    async def hit(self, key: str, amount: int, window_seconds: int, *, is_counted: bool = True) -> float:
        """Count one more hit and return 0; at the limit, return the seconds until the next one is allowed.

        Without ``is_counted``, return the same and count nothing.
        """
        limit = (amount, window_seconds * 1000, int(is_counted))
        reply = await self._in_redis(key, *limit) if self._is_up() else None
        if isinstance(reply, int) and 0 <= reply <= window_seconds * 1000:
            return reply / 1000
        return await super().hit(key, amount, window_seconds, is_counted=is_counted)

    async def _in_redis(self, key: str, *limit: int) -> object:
        name = f"kombo-embed:rate:{key}".encode()
        try:
            return await self._run(HIT, [name], *limit, patience_seconds=PATIENCE_SECONDS)
        except Exception:  # noqa: BLE001 - the link cache detects and logs an outage
            return None
