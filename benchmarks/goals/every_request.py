"""Goal 5: a cached link against the official SDK, called on every request."""

from __future__ import annotations

import importlib.util

from benchmarks.bench import Bench
from benchmarks.figures import Bound
from benchmarks.lines import Line
from benchmarks.paired import Goal, Side, compare, rate_line, repeating
from benchmarks.wire import ask_for_link

CONNECTIONS = 8
SDK = "Kombo's SDK"
AT_LEAST, STRETCH = 40.0, 60.0
WHAT = "cached link, middleware form / {} called on every request (8 connections, instant upstream)"


async def measure(bench: Bench) -> list[Line]:
    """Against the SDK, and against one bare httpx call."""
    names = {"ours": "ours_middleware", "a bare pooled httpx client": "httpx_every_request"}
    if importlib.util.find_spec("kombo") is not None:
        names[SDK] = "sdk_every_request"
    workers = await bench.workers(*names.values())
    sides = [
        Side(name=name, worker=worker, requests=repeating(ask_for_link()))
        for name, worker in zip(names, workers, strict=True)
    ]
    ours, *others = await compare(bench, sides, connections=min(CONNECTIONS, bench.effort.connections))
    lines = [
        rate_line(
            Goal(
                number=5,
                what=WHAT.format(other.name),
                bound=Bound("at least", AT_LEAST) if other.name == SDK else None,
                stretch=STRETCH if other.name == SDK else None,
            ),
            ours,
            other,
        )
        for other in reversed(others)
    ]
    if SDK not in names:
        lines.append(Line(goal=5, what=WHAT.format(SDK), skipped="kombo is not installed"))
    return lines
