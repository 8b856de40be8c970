"""Goal 12: what importing the package costs, in fresh interpreters."""

from __future__ import annotations

import importlib.util
import json

from benchmarks.bench import Bench
from benchmarks.figures import Bound, ratios, spread
from benchmarks.lines import Line
from benchmarks.processes import START_DEADLINE, Child

SDK = "from kombo import Kombo"
OURS = "from kombo_embed import EndUser, KomboEmbed"
ALONE, ALONE_STRETCH = 0.6, 0.35
ADDED, ADDED_STRETCH = 0.25, 0.10


async def measure(bench: Bench) -> list[Line]:
    """CPU time of our import over that of the SDK's client, alone and where FastAPI is loaded already."""
    alone = "importing kombo-embed, CPU / importing the SDK's client"
    added = "importing kombo-embed where FastAPI is loaded already, CPU / importing the SDK's client"
    if importlib.util.find_spec("kombo") is None:
        return [Line(goal=12, what=what, skipped="kombo is not installed") for what in (alone, added)]
    cases = {"sdk": ("", SDK), "alone": ("", OURS), "added": ("import fastapi", OURS)}
    if bench.effort.interpreters > 1:
        for first, timed in cases.values():
            await _import(bench, first, timed)  # so that no compiling counts
    cpu: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(bench.effort.interpreters):
        for name in cases if number % 2 == 0 else reversed(cases):
            cpu[name].append(await _import(bench, *cases[name]))
    milliseconds = {name: spread(values).median * 1000 for name, values in cpu.items()}
    bounds = {alone: (ALONE, ALONE_STRETCH, cpu["alone"]), added: (ADDED, ADDED_STRETCH, cpu["added"])}
    return [
        Line(
            goal=12,
            what=what,
            bound=Bound("at most", bound),
            stretch=stretch,
            measured=ratios(values, cpu["sdk"]),
            details={"cpu_ms": milliseconds},
        )
        for what, (bound, stretch, values) in bounds.items()
    ]


async def _import(bench: Bench, first: str, timed: str) -> float:
    child = await Child.start("benchmarks.importing", first, timed, folder=bench.folder, environment={})
    try:
        return float(json.loads(await child.line(deadline=START_DEADLINE)))
    finally:
        await child.stop()
