"""A million people: the memory cache stays within its size, and no single operation pauses the process."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from kombo_embed import EndUser
from kombo_embed.link_cache.memory import MemoryLinkCache
from kombo_embed.models import CacheKey, ConnectionLink, LinkRequest
from tests.faults.sizes import size
from tests.support import ManualClock

PEOPLE = size(small=10_000, full=1_000_000)
SIZE = PEOPLE // 10
SLOWEST_SECONDS = 0.005
HRIS = LinkRequest("HRIS", "en")
Record = Callable[[str, object], None]


@pytest.fixture
def no_collections() -> Iterator[None]:
    """Keep the garbage collector's pauses out of the figures."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collections")
async def test_a_full_cache_stays_within_its_size_without_a_pause(record_property: Record) -> None:
    clock = ManualClock()
    cache = MemoryLinkCache(size=SIZE, lifetime_seconds=3600, clock=clock)
    ends = datetime.fromtimestamp(clock.time(), UTC)
    slow = 0
    slowest = 0.0
    for number in range(PEOPLE):
        clock.advance(0.002)  # some expire, some are evicted
        end_user = EndUser(email=f"p{number}@acme.example", organization_name="Acme", origin_id=str(number))
        key = CacheKey("default", end_user, HRIS, "account")
        link = ConnectionLink.minted(
            f"https://connect.kombo.example/{number}", expires_at=ends, deadline=clock.monotonic() + 3600
        )
        started = time.thread_time()
        async with cache.lease(key, fresh=False) as lease:
            assert await lease.put(link)
        assert await cache.get(key) == link
        spent = time.thread_time() - started
        slow += spent > SLOWEST_SECONDS
        slowest = max(slowest, spent)
    assert sum([await is_cached(cache, number) for number in range(PEOPLE)]) <= SIZE
    assert await is_cached(cache, PEOPLE - 1)
    assert not await is_cached(cache, 0)
    assert slow <= 1  # the system may charge another's time once
    record_property("figure", f"{PEOPLE:,} people, {SIZE:,} entries: slowest {slowest * 1000:.2f} ms of CPU")


async def is_cached(cache: MemoryLinkCache, number: int) -> bool:
    end_user = EndUser(email=f"p{number}@acme.example", organization_name="Acme", origin_id=str(number))
    return await cache.get(CacheKey("default", end_user, HRIS, "account")) is not None
