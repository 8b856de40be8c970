"""Goal 9: the path on which Kombo is asked, against one bare call and against the official SDK."""

from __future__ import annotations

import importlib.util

from benchmarks.bench import Bench
from benchmarks.figures import Bound
from benchmarks.lines import Line
from benchmarks.paired import Goal, Measured, Side, compare, cpu_line, repeating
from benchmarks.wire import ask_for_link

CONNECTIONS = 8
OVER_HTTPX, OVER_SDK, STRETCH = 1.5, 0.5, 1.25
REMARK = (
    "each of ours also writes down in the database for whom it minted, before it answers; "
    "the other two write nothing"
)


async def measure(bench: Bench) -> list[Line]:
    """The CPU time of a mint; every connection is an end user of its own and asks for a fresh link."""
    connections = min(CONNECTIONS, bench.effort.connections)
    sides = [await _side(bench, "ours", "ours_middleware", connections, fresh=True)]
    sides.append(await _side(bench, "httpx", "httpx_every_request", connections))
    with_sdk = importlib.util.find_spec("kombo") is not None
    if with_sdk:
        sides.append(await _side(bench, "Kombo's SDK", "sdk_every_request", connections))
    ours, bare, *sdk = await compare(bench, sides, connections=connections)
    lines = [_line(ours, bare, "mint, CPU / one bare pooled httpx call", OVER_HTTPX)]
    lines += [_line(ours, one, "mint, CPU / Kombo's SDK", OVER_SDK) for one in sdk]
    if not with_sdk:
        lines.append(Line(goal=9, what="mint, CPU / Kombo's SDK", skipped="kombo is not installed"))
    return lines


def _line(ours: Measured, other: Measured, what: str, bound: float) -> Line:
    stretch = STRETCH if bound == OVER_HTTPX else None
    goal = Goal(number=9, what=what, bound=Bound("at most", bound), stretch=stretch, remark=REMARK)
    return cpu_line(goal, ours, other)


async def _side(bench: Bench, name: str, app: str, connections: int, **choice: object) -> Side:
    worker = await bench.worker(app)
    requests = [ask_for_link(number, **choice) for number in range(connections)]
    return Side(name=name, worker=worker, requests=repeating(*requests))
