"""Redis stopped, paused, full, read-only or started anew under requests: nobody is answered with an error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.links.workers import ADA, GRACE, HeldTransport, Worker, workers
from tests.redis_server import RedisServer
from tests.support import LogRecorder, eventually, minted, person


@pytest.fixture
def log() -> Iterator[LogRecorder]:
    recorder = LogRecorder()
    logging.getLogger("kombo_embed").addHandler(recorder)
    yield recorder
    logging.getLogger("kombo_embed").removeHandler(recorder)


def said(log: LogRecorder, event: str) -> int:
    return sum(event in line for line in log.lines)


async def are_back(*several: Worker) -> None:
    async with asyncio.timeout(30):
        while [worker for worker in several if (await worker.health())["status"] != "ok"]:  # noqa: ASYNC110 - HTTP
            await asyncio.sleep(0.05)


async def test_a_start_without_redis_works_says_so_and_finds_it_later(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, log: LogRecorder
) -> None:
    redis_server.stop()
    async with workers(2, kombo, redis_server) as (first, second):
        assert said(log, "redis.gone: ConnectionError") == 2
        assert await first.link() != await second.link()
        assert await first.health() == {"status": "degraded", "checks": {"store": "ok", "redis": "gone"}}
        redis_server.start()
        await are_back(first, second)
        assert await first.link() == await second.link()
    assert (said(log, "redis.gone"), said(log, "redis.back")) == (2, 2)
    assert minted(sandbox) == 3


@pytest.mark.parametrize("fault", ["stop", "pause", "full", "read-only"])
async def test_while_redis_is_gone_each_worker_mints_once_and_nobody_sees_an_error(
    fault: str, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, log: LogRecorder
) -> None:
    people = [person(f"p{number}@acme") for number in range(10)]
    async with workers(2, kombo, redis_server) as (first, second):
        await first.link()
        spoil(redis_server, fault)
        for _ in range(3):
            answers = await asyncio.gather(*(w.ask(who) for w in (first, second) for who in people))
            assert {answer.status_code for answer in answers} == {200}
        assert minted(sandbox) == 1 + 2 * len(people)
        assert (await first.health())["status"] == (await second.health())["status"] == "degraded"
        repair(redis_server, fault)
        await are_back(first, second)
        assert await first.link(people[0]) == await second.link(people[0])
    assert (said(log, "redis.gone"), said(log, "redis.back")) == (2, 2)


async def test_a_redis_that_stands_still_holds_the_first_request_up_briefly_and_the_rest_not_at_all(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with workers(1, kombo, redis_server) as (worker,):
        await worker.link(GRACE)
        redis_server.pause()
        # Without its deadline, this waits for ever. How much less it is, benchmarks measure.
        async with asyncio.timeout(20):
            await worker.link()
        asked = await worker.ask()
        assert asked.headers["cache-status"].startswith("kombo-embed; hit")
        redis_server.resume()


async def test_a_link_that_was_dropped_while_redis_was_away_is_not_there_when_it_is_back(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, sandbox: Sandbox
) -> None:
    async with workers(2, kombo, redis_server) as (first, second):
        old, ours = await first.link(GRACE), await first.link()
        assert await second.link(GRACE) == old
        redis_server.pause()
        await first.complete(sandbox, ours, "personio")
        during = await second.link(GRACE)
        redis_server.resume()
        await are_back(first, second)
        later = [await worker.link(GRACE) for worker in (first, second)]
    assert old not in [during, *later]
    assert later[0] == later[1]


async def test_a_redis_that_comes_back_with_old_links_hands_out_none_that_was_dropped(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, sandbox: Sandbox
) -> None:
    async with workers(1, kombo, redis_server) as (first,):
        old, ours = await first.link(GRACE), await first.link()
        assert redis_server.command("SAVE") == b"+OK"
        await first.complete(sandbox, ours, "personio")
        assert await first.link(GRACE) != old
        redis_server.stop()
        redis_server.start()
        assert redis_server.command("DBSIZE") != b":0"  # it has what it saved before the drop
        await first.link(GRACE)  # sees that it was gone
        await are_back(first)
        assert await first.link(GRACE) != old
    async with workers(1, kombo, redis_server) as (another,):
        assert await another.link(GRACE) != old


async def test_a_drop_that_is_on_record_is_told_to_redis_by_the_next_start(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, sandbox: Sandbox
) -> None:
    async with workers(1, kombo, redis_server) as (first,):
        old, ours = await first.link(GRACE), await first.link()
    async with workers(1, kombo) as (crashes,):  # knows no Redis, so it records and cannot drop there
        await crashes.complete(sandbox, ours, "personio")
    async with workers(1, kombo, redis_server) as (later,):
        new = await later.link(GRACE)
        assert new != old
    async with workers(1, kombo, redis_server) as (latest,):
        assert await latest.link(GRACE) == new  # told once, and not to those minted since


async def test_a_mint_that_redis_does_not_live_to_see_is_kept_in_memory(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    gate = HeldTransport(kombo)
    async with workers(1, gate, redis_server) as (worker,):
        minting = asyncio.create_task(worker.ask())
        await gate.reached.wait()
        redis_server.stop()
        gate.open.set()
        answer = await minting
        assert answer.headers["cache-status"] == "kombo-embed; fwd=uri-miss; stored"
        assert await worker.link() == answer.json()["link"]
        assert gate.calls == 1


async def test_whoever_waits_for_another_worker_when_redis_goes_mints_for_itself(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    gate = HeldTransport(kombo)
    async with workers(1, gate, redis_server) as (slow,), workers(1, kombo, redis_server) as (waiting,):
        minting = asyncio.create_task(slow.link())
        await gate.reached.wait()
        asked = redis_server.calls("evalsha")
        waiter = asyncio.create_task(waiting.link())
        await eventually(lambda: redis_server.calls("evalsha") > asked + 3)
        redis_server.stop()
        assert await waiter
        gate.open.set()
        assert await minting != await waiter


async def test_callers_that_leave_are_no_trouble(
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


def spoil(redis: RedisServer, fault: str) -> None:
    faults: dict[str, Any] = {
        "stop": redis.stop,
        "pause": redis.pause,
        "full": lambda: redis.command("CONFIG", "SET", "maxmemory", "1"),
        "read-only": lambda: redis.command("REPLICAOF", "127.0.0.1", "1"),
    }
    faults[fault]()


def repair(redis: RedisServer, fault: str) -> None:
    repairs: dict[str, Any] = {
        "stop": redis.start,
        "pause": redis.resume,
        "full": lambda: redis.command("CONFIG", "SET", "maxmemory", "0"),
        "read-only": lambda: redis.command("REPLICAOF", "NO", "ONE"),
    }
    repairs[fault]()
