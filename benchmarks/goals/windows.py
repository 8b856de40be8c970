"""Goal 8: one call to Kombo per end user and 55 minutes, whatever is asked, over simulated hours."""

from __future__ import annotations

import random
from collections import Counter

from benchmarks.bench import Bench
from benchmarks.figures import Bound, spread
from benchmarks.in_process import CountingKombo, SimulatedClock, create_embed, post
from benchmarks.lines import Line
from kombo_embed import KomboEmbed

PEOPLE = 10
STEP_SECONDS = 300.0  # between two requests of one end user, on average
WINDOW = 55 * 60.0  # seconds: the hour of a link without the last five minutes
WHAT = "calls to Kombo per end user and window of 55 minutes, {requests} requests of {people} in {hours} h"


async def measure(bench: Bench) -> list[Line]:
    """In this process, on a clock that is moved: days of requests in seconds."""
    clock, kombo = SimulatedClock(), CountingKombo()
    async with create_embed(bench.folder, kombo, clock) as embed:
        requests, windows = await _simulate(embed, clock, hours=bench.effort.hours)
    return [
        Line(
            goal=8,
            what=WHAT.format(requests=requests, people=PEOPLE, hours=bench.effort.hours),
            unit="calls",
            bound=Bound("exactly", 1),
            measured=spread([kombo.calls[name] / count for name, count in windows.items()]),
            details={"calls": sum(kombo.calls.values()), "windows": sum(windows.values())},
        )
    ]


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
