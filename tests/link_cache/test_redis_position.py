"""Redis knows up to where invalidations were applied: only later ones are applied at a start and a return."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from kombo_embed.clock import SystemClock
from kombo_embed.link_cache.encryption import LinkCipher
from kombo_embed.link_cache.failover import FailoverLinkCache
from kombo_embed.link_cache.invalidation import InvalidationPoller
from kombo_embed.link_cache.memory import MemoryLinkCache
from kombo_embed.link_cache.redis_client import RedisClient
from kombo_embed.link_cache.redis_position import RedisPosition
from kombo_embed.sandbox import Sandbox
from tests.link_cache.test_invalidation import fill, transaction
from tests.link_cache.test_redis import make_store
from tests.link_cache.workers import GRACE, Worker, workers
from tests.redis_server import RedisServer
from tests.store.samples import opened_store
from tests.support import SQLITE_URL, eventually, minted

POSITIONS = LinkCipher().invalidation_name("position", "default", "").decode()


def position(redis: RedisServer) -> int:
    """Return the position that is in Redis; -1 if there is none."""
    values = [int(one) for one in redis.reply("HVALS", POSITIONS).split(b"\r\n") if one.isdigit()]
    return max(values, default=-1)


async def renewed(worker: Worker, old: str, who: dict[str, str] = GRACE) -> str:
    """Wait until the worker issues another link than the old one."""
    async with asyncio.timeout(20):
        while (new := await worker.link(who)) == old:  # noqa: ASYNC110 - only a request observes it
            await asyncio.sleep(0.05)
    return new


async def test_a_start_applies_only_the_rows_after_the_position(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, sandbox: Sandbox
) -> None:
    async with workers(1, kombo, redis_server) as (first,):
        await fill(SQLITE_URL, 2500)
        await eventually(lambda: position(redis_server) >= 2500)
        kept = await first.link()
    before = redis_server.calls("evalsha")
    async with workers(1, kombo, redis_server) as (second,):
        assert redis_server.calls("evalsha") - before < 20
        assert await second.link() == kept
    assert minted(sandbox) == 1


async def test_a_crash_between_commit_and_redis_is_repaired_by_a_running_worker(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, sandbox: Sandbox
) -> None:
    async with workers(2, kombo, redis_server) as (first, second):
        old, ours = await first.link(GRACE), await first.link()
        assert await second.link(GRACE) == old
        async with workers(1, kombo) as (without_redis,):  # as if it crashed after the transaction
            await without_redis.complete(sandbox, ours, "personio")
        new = await renewed(second, old)
        assert await first.link(GRACE) == new


async def test_a_crash_between_commit_and_redis_is_repaired_at_the_next_start(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, sandbox: Sandbox
) -> None:
    async with workers(1, kombo, redis_server) as (first,):
        old, ours = await first.link(GRACE), await first.link()
        await fill(SQLITE_URL, 1)
        await eventually(lambda: position(redis_server) >= 1)
    async with workers(1, kombo) as (without_redis,):
        await without_redis.complete(sandbox, ours, "personio")
    async with workers(1, kombo, redis_server) as (later,):
        assert await later.link(GRACE) != old


@asynccontextmanager
async def poller(redis: RedisServer, url: str = SQLITE_URL) -> AsyncIterator[InvalidationPoller]:
    """A worker's poller, which polls when a test calls it."""
    clock = SystemClock()
    client = RedisClient(redis.url)
    async with opened_store(url) as records:
        links = make_store(client)
        log = records.invalidations
        applied = RedisPosition(client, LinkCipher(), links=links, log=log, database=records.name)
        cache = FailoverLinkCache(
            links,
            position=applied,
            make_memory=lambda: MemoryLinkCache(size=10, lifetime_seconds=3600, clock=clock),
            environment="default",
            mint_timeout_seconds=10,
            clock=clock,
        )
        await cache.open(apply_cool_down=lambda _: None)
        try:
            yield InvalidationPoller(
                log, cache, environment="default", lifetime_seconds=3600, clock=clock, advance=cache.advance
            )
        finally:
            await cache.aclose()
            await client.aclose()


async def test_a_row_that_one_worker_has_applied_is_not_applied_by_another(redis_server: RedisServer) -> None:
    async with poller(redis_server) as first, poller(redis_server) as second:
        await fill(SQLITE_URL, 500)
        before = redis_server.calls("evalsha")
        await first.poll()
        applied = redis_server.calls("evalsha")
        assert applied - before >= 500
        await second.poll()
        assert redis_server.calls("evalsha") - applied < 20


async def test_a_row_that_is_committed_late_is_applied_by_the_next_start(
    redis_server: RedisServer, postgres_url: str
) -> None:
    async with transaction(postgres_url, "late") as late:
        async with poller(redis_server, postgres_url) as first:
            await fill(postgres_url, 2000)
            await first.poll()
            assert markers(redis_server) == 2000
        await late.commit()  # its process dies before it invalidates, and so does the other one
    async with poller(redis_server, postgres_url):
        assert markers(redis_server) == 2001


def markers(redis: RedisServer) -> int:
    """Return how many invalidations were applied to Redis."""
    count = "return #redis.call('KEYS', 'kombo-embed:invalidation:*')"
    return int(redis.command("EVAL", count, "0").removeprefix(b":"))


@pytest.mark.parametrize("lost", ["evicted", "flushed"])
async def test_a_running_worker_restores_a_position_that_redis_lost(
    lost: str, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, sandbox: Sandbox
) -> None:
    async with workers(1, kombo, redis_server) as (first,):
        await first.link()
        await fill(SQLITE_URL, 3)
        await eventually(lambda: position(redis_server) >= 3)
        link = await first.link()
        redis_server.command(*(("DEL", POSITIONS) if lost == "evicted" else ("FLUSHALL",)))
        await eventually(lambda: position(redis_server) >= 3)
        assert (await first.link() == link) is (lost == "evicted")
        count = minted(sandbox)
        async with workers(1, kombo, redis_server) as (second,):
            assert await second.link() == await first.link()
        assert minted(sandbox) == count


async def test_a_start_without_a_position_begins_an_epoch_in_which_no_link_of_before_is_valid(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, sandbox: Sandbox
) -> None:
    async with workers(1, kombo, redis_server) as (first,):
        old, ours = await first.link(GRACE), await first.link()
    await fill(SQLITE_URL, 2500)
    async with workers(1, kombo) as (without_redis,):
        await without_redis.complete(sandbox, ours, "personio")
    redis_server.command("DEL", POSITIONS)
    before = redis_server.calls("evalsha")
    async with workers(1, kombo, redis_server) as (later,):
        assert redis_server.calls("evalsha") - before < 20
        new = await later.link(GRACE)
        assert new != old
    async with workers(1, kombo, redis_server) as (latest,):
        assert await latest.link(GRACE) == new


async def test_running_workers_follow_into_a_new_epoch_and_invalidate_in_it(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, sandbox: Sandbox
) -> None:
    async with workers(1, kombo, redis_server) as (first,):
        old = await first.link(GRACE)
        redis_server.command("DEL", POSITIONS)
        async with workers(1, kombo, redis_server) as (second,):
            in_second = await second.link(GRACE)
            async with asyncio.timeout(20):
                while await first.link(GRACE) != await second.link(GRACE):  # noqa: ASYNC110 - HTTP
                    await asyncio.sleep(0.05)
            assert (await first.health())["status"] == "ok"
            ours = await first.link()
            await first.complete(sandbox, ours, "personio")
            shared = [await worker.link(GRACE) for worker in (second, first)]
            assert shared[0] == shared[1]
            assert shared[0] not in (old, in_second)


async def test_databases_that_share_a_redis_have_positions_of_their_own(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, sandbox: Sandbox
) -> None:
    async with workers(1, kombo, redis_server) as (first,):
        await first.link()
        await fill(SQLITE_URL, 50)
        await eventually(lambda: position(redis_server) >= 50)
    small: dict[str, Any] = {"database_url": "sqlite+aiosqlite:///small.db"}
    async with workers(1, kombo, redis_server, **small) as (other,):
        old, ours = await other.link(GRACE), await other.link()
    async with workers(1, kombo, **small) as (without_redis,):  # as if it crashed after the transaction
        await without_redis.complete(sandbox, ours, "personio")
    async with workers(1, kombo, redis_server, **small) as (later,):
        assert await later.link(GRACE) != old
