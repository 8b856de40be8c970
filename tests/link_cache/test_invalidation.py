"""Invalidations reach every worker through the database that they share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import httpx
import pytest
from sqlalchemy import func, insert, make_url, select

from kombo_embed.clock import ManualClock
from kombo_embed.errors import StoreUnavailable
from kombo_embed.link_cache.invalidation import (
    CURRENT_SECONDS,
    MISSING_SECONDS,
    POLL_SECONDS,
    ROWS_PER_READ,
    InvalidationPoller,
)
from kombo_embed.link_cache.memory import MemoryLinkCache
from kombo_embed.ports import Invalidation, InvalidationLog, InvalidationPage
from kombo_embed.sandbox import Sandbox
from kombo_embed.store.database import Database
from kombo_embed.store.store import Store
from kombo_embed.store.tables import link_invalidations
from kombo_embed.upstream import ReportedDeletion
from tests.link_cache.workers import GRACE, workers
from tests.store.samples import NOW, complete, created, fixed_clock, opened_store, state_changed
from tests.support import eventually

INSERT = (
    "INSERT INTO kombo_embed_dropped_links (environment, drop_id, origin_id, dropped_at)"
    " VALUES ('default', $1, 'acme', now())"  # as an earlier version writes it
)


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


class RecordingLog:
    """Records what is read from the log, and fails where ``error`` is set."""

    def __init__(self, log: InvalidationLog) -> None:
        self._log = log
        self.late_rows = log.late_rows
        self.error: Exception | None = None
        self.rows = 0
        self.looked_for: list[Sequence[int]] = []

    async def find_position(self) -> int:
        return await self._log.find_position()

    async def find(self, *, after: int, limit: int) -> InvalidationPage:
        if self.error is not None:
            raise self.error
        page = await self._log.find(after=after, limit=limit)
        self.rows += len(page.row_ids)
        return page

    async def find_late(self, row_ids: Sequence[int]) -> InvalidationPage:
        self.looked_for.append(row_ids)
        return await self._log.find_late(row_ids)

    async def prune(self, *, before: object, limit: int) -> int:
        raise NotImplementedError


@pytest.fixture
def clock() -> ManualClock:
    return fixed_clock()


@pytest.fixture
def cache(clock: ManualClock) -> RecordingCache:
    return RecordingCache(clock)


@pytest.fixture
async def store(database_url: str, clock: ManualClock) -> AsyncIterator[Store]:
    """The store of this process."""
    async with opened_store(database_url, clock=clock) as store:
        yield store


@pytest.fixture
async def other(database_url: str, clock: ManualClock) -> AsyncIterator[Store]:
    """The store of another process."""
    async with opened_store(database_url, clock=clock) as store:
        yield store


@pytest.fixture
def log(store: Store) -> RecordingLog:
    return RecordingLog(store.invalidations)


@asynccontextmanager
async def polling(
    store: Store, log: RecordingLog, cache: RecordingCache, clock: ManualClock
) -> AsyncIterator[InvalidationPoller]:
    poller = InvalidationPoller(log, cache, environment="default", lifetime_seconds=3600, clock=clock)
    store.apply_invalidations_by(poller.apply)
    await poller.start()
    yield poller
    await poller.aclose()


async def fill(url: str, count: int, *, environment: str = "default", age_seconds: float = 0) -> None:
    """Write rows as transactions of other processes do."""
    database = Database(url)
    dropped_at = NOW - timedelta(seconds=age_seconds)
    row = {"environment": environment, "origin_id": "acme", "dropped_at": dropped_at, "only_lists": False}
    rows = [row | {"drop_id": f"{environment}-{age_seconds}-{number}"} for number in range(count)]
    async with database.writing() as connection:
        await connection.execute(insert(link_invalidations), rows)
    await database.aclose()


async def count_rows(url: str) -> int:
    database = Database(url)
    async with database.reading() as connection:
        found = await connection.execute(select(func.count()).select_from(link_invalidations))
        count: int = found.scalar_one()
    await database.aclose()
    return count


@asynccontextmanager
async def transaction(url: str, name: str) -> AsyncIterator[asyncpg.transaction.Transaction]:
    """Write a row in PostgreSQL, and leave its transaction open."""
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn)
    opened = connection.transaction()
    await opened.start()
    await connection.execute(INSERT, name)
    yield opened
    await connection.close()


async def test_without_redis_a_completion_invalidates_the_other_workers_links_within_two_seconds(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    async with workers(2, kombo) as (first, second):
        old, kept = await second.link(GRACE), await first.link()
        await first.complete(sandbox, kept, "personio")
        assert POLL_SECONDS < 2  # the rest of the two seconds is for reading; a busy machine may need longer
        async with asyncio.timeout(20):
            while await second.link(GRACE) == old:  # noqa: ASYNC110 - only a request observes it
                await asyncio.sleep(0.05)
        assert await first.link() != kept


async def test_a_process_applies_its_own_invalidation_at_once_without_reading_and_only_once(
    store: Store, log: RecordingLog, cache: RecordingCache, clock: ManualClock
) -> None:
    async with polling(store, log, cache, clock) as poller:
        log.error = StoreUnavailable("not needed")
        await complete(store)
        assert len(cache.applied) == 1
        log.error = None
        await poller.poll()
        assert (len(cache.applied), log.rows) == (1, 1)


async def test_an_own_invalidation_is_applied_although_its_caller_has_left(
    store: Store, log: RecordingLog, cache: RecordingCache, clock: ManualClock
) -> None:
    async with polling(store, log, cache, clock):
        caller = asyncio.create_task(complete(store))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        assert caller.cancelled()
        await eventually(lambda: len(cache.applied) == 1)


async def test_an_invalidation_that_fails_does_not_fail_its_transaction_and_the_next_poll_applies_it(
    store: Store, log: RecordingLog, cache: RecordingCache, clock: ManualClock
) -> None:
    async with polling(store, log, cache, clock) as poller:
        cache.error = RuntimeError("for a moment")
        assert await complete(store) is True
        with pytest.raises(RuntimeError):
            await poller.poll()
        cache.error = None
        await poller.poll()
        await poller.poll()
    assert len(cache.applied) == 1


async def test_each_poll_reads_only_new_rows_in_batches_and_skips_those_of_other_environments(
    store: Store, log: RecordingLog, cache: RecordingCache, clock: ManualClock, database_url: str
) -> None:
    async with polling(store, log, cache, clock) as poller:
        await fill(database_url, ROWS_PER_READ + 5)
        await fill(database_url, 7, environment="us")
        await poller.poll()
        assert (len(cache.applied), log.rows) == (ROWS_PER_READ + 5, ROWS_PER_READ + 12)
        await poller.poll()
        assert (len(cache.applied), log.rows) == (ROWS_PER_READ + 5, ROWS_PER_READ + 12)
        assert log.looked_for == []  # the numbers of the other environment are not missing


async def test_a_start_reads_a_few_rows_however_many_there_are_and_applies_none(
    store: Store, log: RecordingLog, cache: RecordingCache, clock: ManualClock, database_url: str
) -> None:
    await fill(database_url, 5000)
    async with polling(store, log, cache, clock) as poller:
        assert log.rows <= ROWS_PER_READ
        await fill(database_url, 1, age_seconds=1)
        await poller.poll()
    assert cache.applied == ["default-1-0"]


async def test_a_row_that_is_committed_after_later_ones_is_applied_once(
    postgres_url: str, clock: ManualClock, cache: RecordingCache
) -> None:
    async with (
        opened_store(postgres_url, clock=clock) as store,
        transaction(postgres_url, "before the start") as first,
    ):
        await fill(postgres_url, 1)
        log = RecordingLog(store.invalidations)
        async with (
            polling(store, log, cache, clock) as poller,
            transaction(postgres_url, "late") as second,
            transaction(postgres_url, "rolled back") as third,
        ):
            await fill(postgres_url, 1, age_seconds=1)
            await third.rollback()
            await poller.poll()
            clock.advance(MISSING_SECONDS / 2)
            await first.commit()
            await poller.poll()
            await second.commit()
            await poller.poll()
            await poller.poll()
            assert cache.applied == ["default-1-0", "before the start", "late"]
            assert log.rows == 2  # no row was read again
            clock.advance(MISSING_SECONDS / 2)
            log.looked_for.clear()
            await poller.poll()
            assert log.looked_for == []  # the number that was rolled back is not looked for any longer


async def test_a_duplicate_event_and_a_repeated_completion_write_and_invalidate_nothing(
    store: Store,
    other: Store,
    log: RecordingLog,
    cache: RecordingCache,
    clock: ManualClock,
    database_url: str,
) -> None:
    async with polling(store, log, cache, clock):
        await store.save_event(*created("e1"))
        await complete(store)
        await store.save_event(*state_changed("e2", "ACTIVE"))
        assert (len(cache.applied), await count_rows(database_url)) == (3, 3)
        for process in (store, other):
            await process.save_event(*created("e1"))
            assert await complete(process) is False
            await process.save_event(*state_changed("e2", "ACTIVE"))
        assert (len(cache.applied), await count_rows(database_url)) == (3, 3)
        event, report = created("e3")
        for process in (store, other):
            await process.save_event(event, ReportedDeletion(report))
        assert (len(cache.applied), await count_rows(database_url)) == (4, 4)


async def test_a_change_that_concerns_no_link_invalidates_lists_only(
    store: Store, other: Store, log: RecordingLog, cache: RecordingCache, clock: ManualClock
) -> None:
    await complete(store)
    changed: list[str] = []
    async with polling(store, log, cache, clock) as poller:
        poller.subscribe(changed.append)
        await store.save_event(*state_changed("e1", "INVALID"))
        assert (changed, cache.applied) == (["acme"], [])
        await other.save_event(*state_changed("e2", "INACTIVE"))
        await poller.poll()
        assert (changed, cache.applied) == (["acme"] * 2, [])
        await other.save_event(*state_changed("e3", "ACTIVE"))
        await poller.poll()
    assert (changed, len(cache.applied)) == (["acme"] * 3, 1)


async def test_the_poller_is_current_for_two_seconds_after_a_poll_that_succeeded(
    store: Store, log: RecordingLog, cache: RecordingCache, clock: ManualClock
) -> None:
    async with polling(store, log, cache, clock) as poller:
        clock.advance(CURRENT_SECONDS)
        assert poller.is_current
        log.error = StoreUnavailable("gone")
        with pytest.raises(StoreUnavailable):
            await poller.poll()
        clock.advance(0.1)
        assert not poller.is_current
        log.error = None
        await poller.poll()
        assert poller.is_current


async def test_old_rows_are_pruned_in_batches_from_the_oldest_on(store: Store, database_url: str) -> None:
    await fill(database_url, 3, age_seconds=7200)
    await fill(database_url, 2, age_seconds=7200, environment="us")
    await fill(database_url, 1, age_seconds=60)
    before = NOW - timedelta(hours=1)
    pruned = [await store.invalidations.prune(before=before, limit=2) for _ in range(3)]
    assert pruned == [2, 2, 1]
    assert await store.invalidations.prune(before=before, limit=2) == 0
    assert await count_rows(database_url) == 1


async def test_the_ids_of_pruned_rows_are_not_used_again(
    store: Store, log: RecordingLog, cache: RecordingCache, clock: ManualClock, database_url: str
) -> None:
    async with polling(store, log, cache, clock) as poller:
        await fill(database_url, 1, age_seconds=7200)
        await poller.poll()
        assert await store.invalidations.prune(before=NOW, limit=10) == 1
        await fill(database_url, 1)
        await poller.poll()
    assert cache.applied == ["default-7200-0", "default-0-0"]
