"""Redis is stopped, paused, full, read-only or restarted under load, and no request fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.fakes import HeldTransport
from tests.link_cache.workers import ADA, GRACE, Worker, workers
from tests.redis_server import RedisServer
from tests.support import LogRecorder, eventually, minted, person


@pytest.fixture
def log() -> Iterator[LogRecorder]:
    recorder = LogRecorder()
    logging.getLogger("kombo_embed").addHandler(recorder)
    yield recorder
    logging.getLogger("kombo_embed").removeHandler(recorder)


def count(log: LogRecorder, event: str) -> int:
    return sum(f" {event} " in line for line in log.lines)


async def until_recovered(*several: Worker) -> None:
    async with asyncio.timeout(30):
        while [worker for worker in several if (await worker.health())["status"] != "ok"]:  # noqa: ASYNC110 - HTTP
            await asyncio.sleep(0.05)


async def test_a_start_without_redis_succeeds_logs_it_and_recovers_later(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, log: LogRecorder
) -> None:
    redis_server.stop()
    async with workers(2, kombo, redis_server) as (first, second):
        assert count(log, "redis.unavailable") == log.text().count("'error': 'ConnectionError'") == 2
        assert await first.link() != await second.link()
        health = await first.health()
        assert (health["status"], health["checks"]) == ("degraded", {"store": "ok", "redis": "gone"})
        redis_server.start()
        await until_recovered(first, second)
        assert await first.link() == await second.link()
    assert (count(log, "redis.unavailable"), count(log, "redis.recovered")) == (2, 2)
    assert minted(sandbox) == 3


@pytest.mark.parametrize("fault", ["stop", "pause", "full", "read-only"])
async def test_during_an_outage_each_worker_mints_once_and_no_request_fails(
    fault: str, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, log: LogRecorder
) -> None:
    people = [person(f"p{number}@acme") for number in range(10)]
    async with workers(2, kombo, redis_server) as (first, second):
        await first.link()
        break_redis(redis_server, fault)
        for _ in range(3):
            answers = await asyncio.gather(*(w.request_link(who) for w in (first, second) for who in people))
            assert {answer.status_code for answer in answers} == {200}
        assert minted(sandbox) == 1 + 2 * len(people)
        assert (await first.health())["status"] == (await second.health())["status"] == "degraded"
        repair_redis(redis_server, fault)
        await until_recovered(first, second)
        assert await first.link(people[0]) == await second.link(people[0])
    assert (count(log, "redis.unavailable"), count(log, "redis.recovered")) == (2, 2)


async def test_a_paused_redis_delays_the_first_request_only_by_the_deadline(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with workers(1, kombo, redis_server) as (worker,):
        await worker.link(GRACE)
        redis_server.pause()
        # Without the deadline, this never ends. The benchmarks measure how long it takes.
        async with asyncio.timeout(20):
            await worker.link()
        again = await worker.request_link()
        assert again.headers["cache-status"].startswith("kombo-embed; hit")
        redis_server.resume()


async def test_a_link_invalidated_during_an_outage_is_a_miss_after_the_recovery(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, sandbox: Sandbox
) -> None:
    async with workers(2, kombo, redis_server) as (first, second):
        old, ours = await first.link(GRACE), await first.link()
        assert await second.link(GRACE) == old
        redis_server.pause()
        await first.complete(sandbox, ours, "personio")
        during = await second.link(GRACE)
        redis_server.resume()
        await until_recovered(first, second)
        later = [await worker.link(GRACE) for worker in (first, second)]
    assert old not in [during, *later]
    assert later[0] == later[1]


async def test_a_redis_restarted_from_a_snapshot_serves_no_invalidated_link(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, sandbox: Sandbox
) -> None:
    async with workers(1, kombo, redis_server) as (first,):
        old, ours = await first.link(GRACE), await first.link()
        assert redis_server.command("SAVE") == b"+OK"
        await first.complete(sandbox, ours, "personio")
        assert await first.link(GRACE) != old
        redis_server.stop()
        redis_server.start()
        assert (
            redis_server.command("DBSIZE") != b":0"
        )  # it has loaded the snapshot of before the invalidation
        await first.link(GRACE)  # detects the restart
        await until_recovered(first)
        assert await first.link(GRACE) != old
    async with workers(1, kombo, redis_server) as (another,):
        assert await another.link(GRACE) != old


async def test_a_start_replays_the_invalidations_in_the_database(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, sandbox: Sandbox
) -> None:
    async with workers(1, kombo, redis_server) as (first,):
        old, ours = await first.link(GRACE), await first.link()
    async with workers(1, kombo) as (without_redis,):  # as if it crashed after the transaction
        await without_redis.complete(sandbox, ours, "personio")
    async with workers(1, kombo, redis_server) as (later,):
        new = await later.link(GRACE)
        assert new != old
    async with workers(1, kombo, redis_server) as (latest,):
        assert await latest.link(GRACE) == new  # each invalidation is applied once, so later links stay


async def test_a_mint_during_which_redis_stops_is_cached_in_memory(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    held = HeldTransport(kombo)
    async with workers(1, held, redis_server) as (worker,):
        minting = asyncio.create_task(worker.request_link())
        await held.reached()
        redis_server.stop()
        held.release()
        answer = await minting
        assert answer.headers["cache-status"] == "kombo-embed; fwd=uri-miss; stored"
        assert await worker.link() == answer.json()["link"]
        assert held.calls == 1


async def test_a_request_that_waits_for_another_worker_when_redis_stops_mints_itself(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    held = HeldTransport(kombo)
    async with workers(1, held, redis_server) as (slow,), workers(1, kombo, redis_server) as (waiting,):
        minting = asyncio.create_task(slow.link())
        await held.reached()
        before = redis_server.calls("evalsha")
        waiter = asyncio.create_task(waiting.link())
        await eventually(lambda: redis_server.calls("evalsha") > before + 3)
        redis_server.stop()
        assert await waiter
        held.release()
        assert await minting != await waiter


async def test_callers_that_disconnect_during_an_outage_disturb_no_others(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with workers(1, kombo, redis_server) as (worker,):
        redis_server.pause()
        leaving = [
            asyncio.create_task(worker.client.post("/kombo/links", headers=ADA, json={})) for _ in range(5)
        ]
        await asyncio.sleep(0)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        assert await worker.link()
        redis_server.resume()


def break_redis(redis: RedisServer, fault: str) -> None:
    faults: dict[str, Any] = {
        "stop": redis.stop,
        "pause": redis.pause,
        "full": lambda: redis.command("CONFIG", "SET", "maxmemory", "1"),
        "read-only": lambda: redis.command("REPLICAOF", "127.0.0.1", "1"),
    }
    faults[fault]()


def repair_redis(redis: RedisServer, fault: str) -> None:
    repairs: dict[str, Any] = {
        "stop": redis.start,
        "pause": redis.resume,
        "full": lambda: redis.command("CONFIG", "SET", "maxmemory", "0"),
        "read-only": lambda: redis.command("REPLICAOF", "NO", "ONE"),
    }
    repairs[fault]()
