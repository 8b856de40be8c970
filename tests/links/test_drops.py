"""What ended links, told from worker to worker through the database that they share."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from kombo_embed.link_cache.invalidation import POLL, REREAD, InvalidationPoller
from kombo_embed.link_cache.memory import MemoryLinkCache
from kombo_embed.ports import Invalidation
from kombo_embed.sandbox import Sandbox
from kombo_embed.store.store import Store
from tests.links.workers import GRACE, workers
from tests.support import ManualClock, minted

FILE = "kombo_embed.db"
URL = f"sqlite+aiosqlite:///{FILE}"


class Cache(MemoryLinkCache):
    """Writes down what it was told."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(size=10, lifetime=3600, clock=clock)
        self.told: list[str] = []

    async def invalidate(self, environment: str, invalidation: Invalidation) -> None:
        assert environment == "default"
        self.told.append(invalidation.invalidation_id)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[Store]:
    store = Store(URL, environment="default", clock=clock)
    await store.open()
    yield store
    await store.aclose()


def watch(store: Store, cache: Cache, clock: ManualClock) -> InvalidationPoller:
    return InvalidationPoller(store, cache, environment="default", lifetime=3600, clock=clock)


def commit(row_id: int | None, invalidation_id: str, environment: str = "default") -> None:
    """What a transaction of another process leaves behind."""
    with closing(sqlite3.connect(FILE)) as database, database:
        database.execute(
            "INSERT INTO kombo_embed_dropped_links (id, environment, drop_id, origin_id, dropped_at)"
            " VALUES (?, ?, ?, 'acme', '2026-09-21 14:13:20.000000')",
            (row_id, environment, invalidation_id),
        )


async def test_without_redis_a_completion_ends_the_other_workers_links_within_two_seconds(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    async with workers(2, kombo) as (first, second):
        old, kept = await second.link(GRACE), await first.link()
        await first.complete(sandbox, kept, "personio")
        assert POLL <= 1  # second. What is left of the two is for reading; a busy machine may take longer.
        async with asyncio.timeout(20):
            while await second.link(GRACE) == old:  # noqa: ASYNC110 - a request sees it
                await asyncio.sleep(0.05)
        assert await first.link() != kept


async def test_a_worker_does_not_drop_again_what_it_has_dropped_itself(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, store: Store
) -> None:
    async with workers(1, kombo) as (worker,):
        await worker.complete(sandbox, await worker.link(), "personio")
        new = await worker.link()
        commit(None, "of-another", environment="us")
        await asyncio.sleep(1.2)  # a look later
        assert await worker.link() == new
    assert [invalidation.origin_id for invalidation in await store.find_invalidations(after=0)] == ["acme"]
    assert minted(sandbox) == 2


async def test_ids_that_are_committed_out_of_order_are_all_applied_once(
    store: Store, clock: ManualClock
) -> None:
    cache = Cache(clock)
    watching = watch(store, cache, clock)
    commit(1, "before-the-start")
    await watching.start()
    for row_id, invalidation_id in [(5, "five"), (3, "three"), (9, "nine"), (4, "four")]:
        commit(row_id, invalidation_id)
        await watching.look()
        clock.advance(REREAD / 10)
    await watching.look()
    await watching.aclose()
    assert cache.told == ["five", "three", "nine", "four"]


async def test_what_was_read_long_ago_is_neither_read_again_nor_remembered(
    store: Store, clock: ManualClock
) -> None:
    cache = Cache(clock)
    watching = watch(store, cache, clock)
    await watching.start()
    for number in range(50):
        commit(None, f"drop-{number}")
        await watching.look()
        clock.advance(REREAD)
    await watching.look()
    await watching.look()
    await watching.aclose()
    assert len(cache.told) == 50
    assert len(watching._applied) <= 1  # noqa: SLF001 - that it stays bounded cannot be seen from outside


async def test_pruned_rows_leave_no_id_to_be_used_again(store: Store, clock: ManualClock) -> None:
    cache = Cache(clock)
    watching = watch(store, cache, clock)
    await watching.start()
    commit(None, "old")
    await watching.look()
    clock.advance(REREAD)
    await watching.look()
    now = datetime.fromtimestamp(clock.time(), UTC)
    await store.prune_invalidations(before=now - timedelta(hours=1))
    assert len(await store.find_invalidations(after=0)) == 1
    await store.prune_invalidations(before=now)
    assert await store.find_invalidations(after=0) == []
    commit(None, "new")
    await watching.look()
    await watching.aclose()
    assert cache.told == ["old", "new"]


async def test_when_the_rows_cannot_be_read_the_own_drop_is_applied_all_the_same(
    store: Store, clock: ManualClock
) -> None:
    cache = Cache(clock)
    watching = watch(store, cache, clock)
    await watching.start()
    with closing(sqlite3.connect(FILE)) as database, database:
        database.execute("DROP TABLE kombo_embed_dropped_links")
    await watching.apply("acme")
    await watching.aclose()
    assert len(cache.told) == 1
