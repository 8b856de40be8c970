"""Targets 7 and 13 to 15: calls per end user and window, memory, stalls of the event loop, and imports.

``python -m benchmarks.footprint <links>`` fills one cache and prints a line of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable
from datetime import UTC, datetime
from pathlib import Path

import httpx
from pydantic import SecretStr

from benchmarks.apps import LINK, to_end_user
from benchmarks.bench import Bench
from benchmarks.processes import run_python
from benchmarks.report import Line, ratios, spread
from benchmarks.requests import API_KEY, person
from kombo_embed import KomboEmbed, Settings
from kombo_embed.clock import ManualClock
from kombo_embed.link_cache.memory import MemoryLinkCache
from kombo_embed.models import CacheKey, ConnectionLink, LinkRequest

PEOPLE = 10
PAUSE_SECONDS = 300.0  # between two requests of one end user, on average
WINDOW_SECONDS = 55 * 60.0  # a link's hour without the last five minutes
LIFETIME_SECONDS = 3600.0
MEMORY_RUNS = 3  # the system gives memory in pieces of a size that it chooses
SDK, OURS = "from kombo import Kombo", "from kombo_embed import EndUser, KomboEmbed"
TIMED = "import time; {}; start = time.process_time(); {}; print(time.process_time() - start)"


async def measure_windows(bench: Bench) -> list[Line]:
    """Simulate days of requests at random moments; count the calls, and the windows that need one."""
    calls, windows, requests = Counter[str](), Counter[str](), 0
    clock, ends_at = ManualClock(lambda: 1_790_000_000.0, lambda: 0.0), [-1.0] * PEOPLE
    randomness = random.Random(1)  # noqa: S311 - the same every run

    def mint(request: httpx.Request) -> httpx.Response:
        calls[json.loads(request.content)["end_user_origin_id"]] += 1
        return httpx.Response(200, json={"status": "success", "data": {"link": LINK.format(number=1)}})

    embed = KomboEmbed(
        end_user=lambda connection: to_end_user(person(int(connection.headers["X-End-User"]))),
        settings=Settings(api_key=SecretStr(API_KEY), database_url=SecretStr(bench.database_url())),
        http_transport=httpx.MockTransport(mint),
        clock=clock,
    )
    transport = httpx.ASGITransport(embed.app)
    async with embed, httpx.AsyncClient(transport=transport, base_url="http://app.example") as client:
        while (now := clock.monotonic()) < bench.effort.hours * 3600:
            number = randomness.randrange(PEOPLE)
            if now > ends_at[number]:
                ends_at[number] = now + WINDOW_SECONDS
                windows[person(number)["organization_id"]] += 1
            (await client.post("/links", headers={"X-End-User": str(number)})).raise_for_status()
            clock.advance(randomness.expovariate(PEOPLE / PAUSE_SECONDS))
            requests += 1
    what = f"upstream calls per end user and 55-minute window: {requests} requests of {PEOPLE} end users"
    measured = spread([calls[name] / count for name, count in windows.items()])
    return [Line(7, what, ("=", 1), measured, unit="calls")]


async def measure_cache(bench: Bench) -> list[Line]:
    """Fill the cache of one process, several times."""
    command, links = ("-m", "benchmarks.footprint", str(bench.effort.links)), f"{bench.effort.links:,} links"
    runs = [run_python(*command) for _ in range(MEMORY_RUNS)]
    memory, longest, collection = [[run[index] for run in runs] for index in range(3)]
    size, stall = f"memory per cached 700-byte link, {links}", f"longest stall by expiry or eviction, {links}"
    remark = f"CPU time of single steps; a whole garbage collection takes {max(collection):.0f} ms besides"
    return [
        Line(13, size, ("<=", 1200), spread(memory), unit="B"),
        Line(14, stall, ("<=", 5), spread(longest), unit="ms", remark=remark),
    ]


async def measure_imports(bench: Bench) -> list[Line]:
    """Compare imports in fresh interpreters, after one round that compiles."""
    cases = {"sdk": ("pass", SDK), "alone": ("pass", OURS), "added": ("import fastapi", OURS)}
    cpu: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(bench.effort.rounds + 1):
        for name in cases if number % 2 == 0 else reversed(cases):
            cpu[name].append(run_python("-c", TIMED.format(*cases[name])))
    alone, added = [ratios(cpu[name][1:], cpu["sdk"][1:]) for name in ("alone", "added")]
    what = "CPU of importing kombo_embed{} / importing the SDK's client"
    return [
        Line(15, what.format(""), ("<=", 0.6), alone),
        Line(15, what.format(" where FastAPI is loaded"), ("<=", 0.25), added),
    ]


async def fill(count: int) -> tuple[int, float, float]:
    """Fill a cache, evict its oldest links, and let the others expire.

    Return the bytes per link, and the milliseconds of the longest step and of a garbage collection.
    """
    clock = ManualClock(lambda: 1_790_000_000.0, lambda: 0.0)
    cache = MemoryLinkCache(size=count, lifetime_seconds=LIFETIME_SECONDS, clock=clock)
    keys = [
        CacheKey("default", to_end_user(person(number)), LinkRequest("HRIS", "en"))
        for number in range(count * 2)
    ]

    async def put(number: int) -> None:
        expires_at = datetime.fromtimestamp(clock.time() + LIFETIME_SECONDS, UTC)
        deadline = clock.monotonic() + LIFETIME_SECONDS
        link = ConnectionLink.minted(LINK.format(number=number), expires_at=expires_at, deadline=deadline)
        async with cache.lease(keys[number], fresh=False) as lease:
            await lease.put(link)

    gc.collect()
    gc.disable()
    before = _resident_bytes()
    for number in range(count):
        await put(number)
    occupied, half = _resident_bytes() - before, count + count // 2
    steps = [await _cpu_ms(put(number)) for number in range(count, half)]
    clock.advance(LIFETIME_SECONDS + 1)
    for number in range(half, count * 2):
        steps += [await _cpu_ms(put(number)), await _cpu_ms(cache.get(keys[number - count // 2]))]
    started_at = time.thread_time()
    gc.collect()
    return occupied // count, max(steps), (time.thread_time() - started_at) * 1000


async def _cpu_ms(step: Awaitable[object]) -> float:
    before = time.thread_time()  # so that other work on a busy machine does not count
    await step
    return (time.thread_time() - before) * 1000


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(json.dumps(asyncio.run(fill(int(sys.argv[1])))))
