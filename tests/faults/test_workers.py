"""Real servers that are stopped, blocked, forked and kept busy: nothing in flight is lost, nothing grows."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.faults.failing_kombo import BAD_BODIES, FAULTS, FailingKombo
from tests.faults.machine import descriptors, resident_bytes
from tests.faults.sizes import size
from tests.faults.workers import Server, browser, descendants, environment, server
from tests.support import free_port, minted, order_fault, person, served

pytestmark = pytest.mark.integration

IN_FLIGHT = 50
LOAD_SECONDS = float(os.environ.get("FAULTS_LOAD_SECONDS", size(small=4, full=600)))
CLIENTS = 8
CACHED_PEOPLE = 20
OTHER_PEOPLE = 200  # who ask for a new link each time: more people would fill the cache
IDLE_CONNECTIONS = 24  # 20 to Kombo, and some of the load: they may open late, but do not add up
KOMBO_TIMEOUT = 1.0  # a hanging call holds up one of the clients for so long
HONEST = {429, 502, 503, 504}
MEGABYTE = 1024 * 1024
FORK = """
import os, sys
import uvicorn
from tests.faults.host import app  # before the fork, as a server with --preload does
ports = [int(port) for port in sys.argv[1:]]
for port in ports:
    if os.fork() == 0:
        uvicorn.run(app, port=port, log_level="warning")
        os._exit(0)
for _ in ports:
    os.wait()
"""
Record = Callable[[str, object], None]


async def test_everything_in_flight_is_answered_after_sigterm(
    sandbox: Sandbox, tmp_path: Path, record_property: Record
) -> None:
    async with (
        served(sandbox.app) as kombo_url,
        server(tmp_path, environment(kombo_url)) as host,
        browser(host.url) as client,
    ):
        await order_fault(sandbox, "create-link", "slow", IN_FLIGHT, seconds=1.0)
        people = [person(f"p{number}@acme") for number in range(IN_FLIGHT)]
        pending = [asyncio.create_task(client.post("/kombo/links", headers=who, json={})) for who in people]
        async with asyncio.timeout(30):
            while minted(sandbox) < IN_FLIGHT:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.01)
        host.process.send_signal(signal.SIGTERM)
        responses = await asyncio.gather(*pending)
        assert {response.status_code for response in responses} == {200}
        async with asyncio.timeout(30):
            assert await host.process.wait() in {0, -signal.SIGTERM}
    record_property("figure", f"SIGTERM: {IN_FLIGHT} of {IN_FLIGHT} in flight answered")


async def test_a_blocked_event_loop_delays_requests_and_fails_none(
    sandbox: Sandbox, tmp_path: Path, record_property: Record
) -> None:
    async with (
        served(sandbox.app) as kombo_url,
        server(tmp_path, environment(kombo_url, BLOCK_SECONDS="2")) as host,
        browser(host.url) as client,
    ):
        people = ["blocker@acme", *(f"p{number}@acme" for number in range(20))]
        started = time.monotonic()
        responses = await asyncio.gather(
            *(client.post("/kombo/links", headers=person(who), json={}) for who in people)
        )
        assert {response.status_code for response in responses} == {200}
        assert time.monotonic() - started >= 2
        checks = (await client.get("/kombo/health")).json()["checks"]
        assert checks["store"] == "ok"
    record_property("figure", "loop blocked for 2 s: 0 of 21 failed")


async def test_workers_that_are_forked_after_the_import_serve(
    sandbox: Sandbox, tmp_path: Path, record_property: Record
) -> None:
    ports = [free_port(), free_port()]
    async with served(sandbox.app) as kombo_url:
        parent = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", FORK, *map(str, ports)),
            cwd=tmp_path,
            env={**os.environ, **environment(kombo_url)},
        )
        try:
            statuses = [await first_answer(port) for port in ports]
        finally:
            for pid in reversed(descendants(parent.pid)):
                os.kill(pid, signal.SIGTERM)
            await parent.wait()
    assert statuses == [200, 200]
    record_property("figure", "2 of 2 forked workers serve")


async def first_answer(port: int) -> int:
    """Return the status of the first link that a server issues."""
    async with asyncio.timeout(90), browser(f"http://127.0.0.1:{port}") as client:
        while True:
            try:
                response = await client.post("/kombo/links", headers=person(f"p{port}@acme"), json={})
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return response.status_code


async def test_nothing_grows_under_load_with_and_without_faults(
    sandbox: Sandbox, tmp_path: Path, record_property: Record
) -> None:
    """The load is four fifths of what the server can answer from its cache, measured first."""
    kombo = FailingKombo(sandbox, slow_seconds=3 * KOMBO_TIMEOUT)
    async with (
        served(kombo) as kombo_url,
        server(tmp_path, environment(kombo_url, KOMBO_TIMEOUT=str(KOMBO_TIMEOUT))) as host,
        browser(host.url) as client,
    ):
        saturation = await requests_per_second(client, seconds=min(5.0, LOAD_SECONDS / 4))
        for name, chance in (("without faults", 0.0), ("with faults", 0.1)):
            kombo.chance, rate = chance, saturation * 0.8
            await load(client, rate=rate, seconds=LOAD_SECONDS / 5, renewing=chance)
            before = await held(host, client)
            statuses, slowest = await load(client, rate=rate, seconds=LOAD_SECONDS, renewing=chance)
            after = await held(host, client)
            assert set(statuses) <= ({200} if not chance else {200, *HONEST})
            grown = (after[0] - before[0]) / MEGABYTE
            assert grown < max(2.0, LOAD_SECONDS / 600)
            assert after[1] <= before[1] + IDLE_CONNECTIONS
            assert after[2] <= before[2] + CLIENTS  # a request that has just ended, of each
            record_property(
                "figure",
                f"{name}: {LOAD_SECONDS:.0f} s at {rate:.0f}/s, {statuses.total():,} requests, "
                f"99th percentile {slowest * 1000:.0f} ms, memory {grown:+.1f} MB, "
                f"descriptors {after[1] - before[1]:+d}, tasks {after[2] - before[2]:+d}",
            )
    injected = kombo.injected.total()
    assert kombo.passed > injected > 0
    assert LOAD_SECONDS < 100 or set(kombo.injected) == {*FAULTS, *BAD_BODIES}
    record_property("figure", f"{injected:,} of {kombo.passed + injected:,} calls to Kombo failed")


async def requests_per_second(client: httpx.AsyncClient, *, seconds: float) -> float:
    """Return how many cached links the server hands out per second to these clients."""
    ends_at, count = time.monotonic() + seconds, 0

    async def ask() -> None:
        nonlocal count
        while time.monotonic() < ends_at:
            await client.post("/kombo/links", headers=person(f"p{count % CACHED_PEOPLE}@acme"), json={})
            count += 1

    await asyncio.gather(*(ask() for _ in range(CLIENTS)))
    return count / seconds


async def load(
    client: httpx.AsyncClient, *, rate: float, seconds: float, renewing: float
) -> tuple[Counter[int], float]:
    """Send requests for links at a rate; the share ``renewing`` of them ask for a new one."""
    dice = random.Random(30)  # noqa: S311 - the same load each time
    statuses: Counter[int] = Counter()
    times: list[float] = []
    ends_at, number = time.monotonic() + seconds, 0

    async def ask() -> None:
        nonlocal number
        while (now := time.monotonic()) < ends_at:
            number += 1
            is_new = dice.random() < renewing
            who = f"new-{number % OTHER_PEOPLE}@acme" if is_new else f"p{number % CACHED_PEOPLE}@acme"
            body = {"fresh": True} if is_new else {}
            response = await client.post("/kombo/links", headers=person(who), json=body)
            statuses[response.status_code] += 1
            assert is_new or response.status_code == 200  # a cached link never fails
            times.append(time.monotonic() - now)
            await asyncio.sleep(max(0.0, now + CLIENTS / rate - time.monotonic()))

    await asyncio.gather(*(ask() for _ in range(CLIENTS)))
    return statuses, sorted(times)[len(times) * 99 // 100]


async def held(host: Server, client: httpx.AsyncClient) -> tuple[int, int, int]:
    """Return the memory of the server, its file descriptors and its tasks."""
    pids = descendants(host.process.pid)
    tasks = (await client.get("/tasks")).json()
    return sum(map(resident_bytes, pids)), sum(map(descriptors, pids)), tasks
