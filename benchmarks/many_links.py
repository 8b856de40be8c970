"""A process that keeps very many links: what one of them takes, and the longest that a single step takes.

Usage: ``python -m benchmarks.many_links <ours or TTLCache> <how many>``; it prints one line of JSON. Steps
are measured in CPU time of the thread, so that a busy machine's other work is not counted, and with the
garbage collector off: what one collection takes is told apart.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from cachetools import TTLCache

from benchmarks.apps.upstream import LINK
from benchmarks.in_process import SimulatedClock
from benchmarks.machine import resident_bytes
from kombo_embed.link_cache.memory import MemoryLinkCache
from kombo_embed.models import CacheKey, ConnectionLink, EndUser, LinkRequest

LIFETIME = 3600.0
STEPS = 20_000


class Cache(Protocol):
    """What is measured."""

    async def keep(self, key: CacheKey, number: int) -> None:
        """Keep a link of 700 bytes."""

    async def get(self, key: CacheKey) -> object:
        """Look for a link."""


class Ours:
    """The cache of one process, with links as they are minted."""

    def __init__(self, size: int, clock: SimulatedClock) -> None:
        self._clock = clock
        self._cache = MemoryLinkCache(size=size, lifetime_seconds=LIFETIME, clock=clock)

    async def keep(self, key: CacheKey, number: int) -> None:
        """Keep a link as the issuer does."""
        expires_at = datetime.fromtimestamp(self._clock.time(), UTC) + timedelta(seconds=LIFETIME)
        deadline = self._clock.monotonic() + LIFETIME
        link = ConnectionLink.minted(LINK.format(number=number), expires_at=expires_at, deadline=deadline)
        self._cache.put(key, link, self._cache.mark())

    async def get(self, key: CacheKey) -> object:
        """Look for a link."""
        return await self._cache.get(key)


class ByHand:
    """What one would take: cachetools' TTLCache."""

    def __init__(self, size: int, clock: SimulatedClock) -> None:
        self._cache: TTLCache[CacheKey, str] = TTLCache(size, LIFETIME, timer=clock.monotonic)

    async def keep(self, key: CacheKey, number: int) -> None:
        """Keep a link."""
        self._cache[key] = LINK.format(number=number)

    async def get(self, key: CacheKey) -> object:
        """Look for a link."""
        return self._cache.get(key)


def _key(number: int) -> CacheKey:
    end_user = EndUser(f"p{number}@c.example", "Customer", f"org_{number}")
    return CacheKey("default", end_user, REQUEST)


REQUEST = LinkRequest("HRIS", "en")
KINDS: dict[str, Callable[[int, SimulatedClock], Cache]] = {"ours": Ours, "TTLCache": ByHand}


async def measure(kind: str, count: int) -> dict[str, float]:
    """Fill it, push the oldest out, let all of them end, and go on."""
    clock = SimulatedClock()
    steps = min(STEPS, count // 2)
    keys = [_key(number) for number in range(count + 2 * steps)]
    cache = KINDS[kind](count, clock)
    gc.collect()
    gc.disable()
    before = resident_bytes()
    for number in range(count):
        await cache.keep(keys[number], number)
    occupied = resident_bytes() - before
    evicting = max([await _cpu(cache.keep(keys[n], n)) for n in range(count, count + steps)])
    clock.now += LIFETIME + 1
    expiring = 0.0
    for number in range(count + steps, count + 2 * steps):
        kept = await _cpu(cache.keep(keys[number], number))
        looked = await _cpu(cache.get(keys[number - steps]))
        expiring = max(expiring, kept, looked)
    collecting = await _cpu(_collect())
    return {
        "bytes_per_link": occupied / count,
        "longest_ms": max(evicting, expiring) * 1000,
        "evicting_ms": evicting * 1000,
        "expiring_ms": expiring * 1000,
        "collecting_ms": collecting * 1000,
    }


async def _cpu(step: Awaitable[object]) -> float:
    before = time.thread_time()
    await step
    return time.thread_time() - before


async def _collect() -> None:
    gc.collect()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1], int(sys.argv[2])))))
