"""Invalidations reach every worker through the database that they share."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from kombo_embed.clock import ManualClock
from kombo_embed.errors import StoreUnavailable
from kombo_embed.link_cache.invalidation import POLL_SECONDS, REREAD_SECONDS, InvalidationPoller
from kombo_embed.link_cache.memory import MemoryLinkCache
from kombo_embed.ports import Invalidation
from kombo_embed.sandbox import Sandbox
from kombo_embed.store.store import Store
from tests.link_cache.workers import GRACE, workers

FILE = "kombo_embed.db"
URL = f"sqlite+aiosqlite:///{FILE}"


class RecordingCache(MemoryLinkCache):
    """Records the invalidations that are applied to it, and fails where ``error`` is set."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(size=10, lifetime_seconds=3600, clock=clock)
        self.applied: list[str] = []
        self.error: Exception | None = None

    async def invalidate(self, environment: str, invalidation: Invalidation) -> None:
        if self.error is not None:
            raise self.error
        assert environment == "default"
        self.applied.append(invalidation.invalidation_id)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(time=lambda: 1_790_000_000.0, monotonic=lambda: 1000.0)  # 2026-09-21 14:13:20


@pytest.fixture
def cache(clock: ManualClock) -> RecordingCache:
    return RecordingCache(clock)


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[Store]:
    store = Store(URL, environment="default", clock=clock)
    await store.open()
    yield store
    await store.aclose()


@asynccontextmanager
async def polling(
    store: Store, cache: RecordingCache, clock: ManualClock
) -> AsyncIterator[InvalidationPoller]:
    poller = InvalidationPoller(store, cache, environment="default", lifetime_seconds=3600, clock=clock)
    await poller.start()
    yield poller
    await poller.aclose()


def commit(row_id: int | None, invalidation_id: str, environment: str = "default") -> None:
    """Write the row that a transaction of another process writes."""
    with closing(sqlite3.connect(FILE)) as database, database:
        database.execute(
            "INSERT INTO kombo_embed_dropped_links (id, environment, drop_id, origin_id, dropped_at)"
            " VALUES (?, ?, ?, 'acme', '2026-09-21 14:13:20.000000')",
            (row_id, environment, invalidation_id),
        )


async def test_without_redis_a_completion_invalidates_the_other_workers_links_within_two_seconds(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    async with workers(2, kombo) as (first, second):
        old, kept = await second.link(GRACE), await first.link()
        await first.complete(sandbox, kept, "personio")
        assert POLL_SECONDS <= 1  # the rest of the two seconds is for reading; a busy machine may need longer
        async with asyncio.timeout(20):
            while await second.link(GRACE) == old:  # noqa: ASYNC110 - only a request observes it
                await asyncio.sleep(0.05)
        assert await first.link() != kept


async def test_a_process_applies_its_own_invalidation_at_once_and_only_once(
    store: Store, cache: RecordingCache, clock: ManualClock
) -> None:
    async with polling(store, cache, clock) as poller:
        commit(None, "own")
        commit(None, "of-another-environment", environment="us")
        await poller.apply("acme")
        assert cache.applied == ["own"]
        await poller.poll()
        assert cache.applied == ["own"]


async def test_ids_that_are_committed_out_of_order_are_all_applied_once(
    store: Store, cache: RecordingCache, clock: ManualClock
) -> None:
    commit(1, "before-the-start")
    async with polling(store, cache, clock) as poller:
        for row_id, invalidation_id in [(5, "five"), (3, "three"), (9, "nine"), (4, "four")]:
            commit(row_id, invalidation_id)
            await poller.poll()
            clock.advance(REREAD_SECONDS / 10)
        await poller.poll()
    assert cache.applied == ["five", "three", "nine", "four"]


async def test_an_invalidation_that_failed_is_applied_by_the_next_poll(
    store: Store, cache: RecordingCache, clock: ManualClock
) -> None:
    async with polling(store, cache, clock) as poller:
        commit(None, "one")
        commit(None, "two")
        cache.error = StoreUnavailable("for a moment")
        with pytest.raises(StoreUnavailable):
            await poller.poll()
        cache.error = None
        await poller.poll()
    assert cache.applied == ["one", "two"]


async def test_rows_read_long_ago_are_neither_read_again_nor_remembered(
    store: Store, cache: RecordingCache, clock: ManualClock
) -> None:
    async with polling(store, cache, clock) as poller:
        for number in range(50):
            commit(None, f"row-{number}")
            await poller.poll()
            clock.advance(REREAD_SECONDS)
        await poller.poll()
        await poller.poll()
        assert len(poller._applied) <= 1  # noqa: SLF001 - its bound has no effect that can be observed
    assert len(cache.applied) == 50


async def test_the_ids_of_pruned_rows_are_not_used_again(
    store: Store, cache: RecordingCache, clock: ManualClock
) -> None:
    async with polling(store, cache, clock) as poller:
        commit(None, "old")
        await poller.poll()
        clock.advance(REREAD_SECONDS)
        await poller.poll()
        now = datetime.fromtimestamp(clock.time(), UTC)
        await store.prune_invalidations(before=now - timedelta(hours=1))
        assert len(await store.find_invalidations(after=0)) == 1
        await store.prune_invalidations(before=now)
        assert await store.find_invalidations(after=0) == []
        commit(None, "new")
        await poller.poll()
    assert cache.applied == ["old", "new"]


async def test_when_the_rows_cannot_be_read_the_own_invalidation_is_still_applied(
    store: Store, cache: RecordingCache, clock: ManualClock
) -> None:
    async with polling(store, cache, clock) as poller:
        with closing(sqlite3.connect(FILE)) as database, database:
            database.execute("DROP TABLE kombo_embed_dropped_links")
        await poller.apply("acme")
    assert len(cache.applied) == 1
