"""Goal 8: one call to Kombo per end user and window, whatever is asked.

In one process over simulated hours, and over several with Redis, where links live a few seconds only.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from contextlib import AsyncExitStack

from benchmarks.bench import Bench
from benchmarks.figures import Bound, spread
from benchmarks.in_process import CountingKombo, SimulatedClock, create_embed, post
from benchmarks.lines import Line
from benchmarks.redis_server import missing_for_redis, running_redis
from benchmarks.wire import ask_for_link
from kombo_embed import KomboEmbed

PEOPLE = 10
STEP_SECONDS = 300.0  # between two requests of one end user, on average
WINDOW = 55 * 60.0  # seconds: the hour of a link without the last five minutes
SHORT_LIFETIME, SHORT_MARGIN = 4, 1  # seconds
SHORT_WINDOWS = 2.4  # of those three begin, and a mint that comes late begins no fourth
REDIS_WORKERS = 2
REDIS = (
    "calls to Kombo per end user and window of {window} s, {requests} requests of {people} "
    "over {workers} workers with Redis"
)
WHAT = "calls to Kombo per end user and window of 55 minutes, {requests} requests of {people} in {hours} h"


async def measure(bench: Bench) -> list[Line]:
    """Days of requests on a clock that is moved, and seconds of them on the real one."""
    return [await _in_one_process(bench), await _over_workers(bench)]


async def _in_one_process(bench: Bench) -> Line:
    clock, kombo = SimulatedClock(), CountingKombo()
    async with create_embed(bench.folder, kombo, clock) as embed:
        requests, windows = await _simulate(embed, clock, hours=bench.effort.hours)
    return Line(
        goal=8,
        what=WHAT.format(requests=requests, people=PEOPLE, hours=bench.effort.hours),
        unit="calls",
        bound=Bound("exactly", 1),
        measured=spread([kombo.calls[name] / count for name, count in windows.items()]),
        details={"calls": sum(kombo.calls.values()), "windows": sum(windows.values())},
    )


async def _over_workers(bench: Bench) -> Line:
    window, requests = SHORT_LIFETIME - SHORT_MARGIN, [ask_for_link(number) for number in range(PEOPLE)]
    told = {"window": window, "people": PEOPLE, "workers": REDIS_WORKERS}
    missing = missing_for_redis()
    if missing:
        what = REDIS.format(requests="some", **told)
        return Line(goal=8, what=what, unit="calls", bound=Bound("exactly", 1), skipped=missing)
    async with running_redis(bench.folder) as redis_url, AsyncExitStack() as stack:
        shared = {
            "KOMBO_API_URL": await bench.upstream_url("windows"),
            "KOMBO_DATABASE_URL": bench.database_url(),
            "KOMBO_LINK_LIFETIME": str(SHORT_LIFETIME),
            "KOMBO_LINK_MIN_REMAINING": str(SHORT_MARGIN),
            "KOMBO_REDIS_URL": redis_url,
        }
        started = await asyncio.gather(
            *(bench.start(stack, "ours_mounted", **shared) for _ in range(REDIS_WORKERS))
        )
        ports = [worker.port for worker in started]
        load = await bench.load(
            ports, requests, connections=bench.effort.connections, seconds=window * SHORT_WINDOWS
        )
    failed, calls = load.failures(200), await bench.calls("windows")
    what = REDIS.format(requests=load.answers, **told)
    return Line(
        goal=8,
        what=what,
        unit="calls",
        bound=Bound("exactly", 1),
        measured=spread([calls / PEOPLE / math.ceil(SHORT_WINDOWS)]),
        details={"calls": calls, "errors": failed},
        remark=f"{failed} requests of {what} failed" if failed else "",
    )


async def _simulate(embed: KomboEmbed, clock: SimulatedClock, *, hours: int) -> tuple[int, dict[str, int]]:
    """Ask at random moments; count the requests, and the windows that they must open."""
    randomness = random.Random(1)  # noqa: S311 - the same run every time
    asked_at: dict[str, float] = {}
    windows: Counter[str] = Counter()
    requests = 0
    while clock.now < hours * 3600:
        clock.now += randomness.expovariate(PEOPLE / STEP_SECONDS)
        name = f"org-{randomness.randrange(PEOPLE)}"
        if name not in asked_at or clock.now > asked_at[name] + WINDOW:
            asked_at[name] = clock.now
            windows[name] += 1
        await post(embed, "/links", x_customer=name)
        requests += 1
    return requests, windows
