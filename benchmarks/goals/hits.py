"""Goals 1 to 3: a cached link, against the least that a route can do and against caches written by hand."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

from benchmarks.bench import Bench
from benchmarks.figures import Bound
from benchmarks.lines import Line
from benchmarks.paired import Goal, Side, compare, rate_line, repeating
from benchmarks.wire import ask_for_link

OURS = {"middleware": "ours_middleware", "mounted": "ours_mounted"}
PEERS = ("aiocache", "cashews")
CONSTANT = "cached link, {} / Starlette route + SessionMiddleware with a constant answer"
BY_HAND = "cached link, {} / FastAPI + SessionMiddleware + {}"


async def measure(bench: Bench) -> list[Line]:
    """Our two forms against the constant route, and against hand-written endpoints."""
    return [*await _against_a_constant(bench), *await _against_hand_written(bench)]


async def _against_a_constant(bench: Bench) -> list[Line]:
    sides = await _sides(bench, {"constant": "starlette_constant", **OURS})
    worker = await bench.worker("ours_by_settings", KOMBO_AUTH="session")
    sides.append(Side(name="KOMBO_AUTH=session", worker=worker, requests=repeating(ask_for_link())))
    constant, middleware, mounted, by_settings = await compare(bench, sides)
    first = Goal(number=1, what=CONSTANT.format("middleware form"), bound=Bound("at least", 1.0), stretch=1.5)
    second = Goal(number=2, what=CONSTANT.format("mounted"), bound=Bound("at least", 0.8), stretch=1.0)
    set_up = replace(second, what=CONSTANT.format("mounted, KOMBO_AUTH=session"))
    return [
        rate_line(first, middleware, constant),
        rate_line(second, mounted, constant),
        rate_line(set_up, by_settings, constant),
    ]


async def _against_hand_written(bench: Bench) -> list[Line]:
    installed = [peer for peer in PEERS if importlib.util.find_spec(peer) is not None]
    by_peers = {peer: f"handrolled_{peer}" for peer in installed}
    sides = await _sides(bench, {"TTLCache by hand": "handrolled_cachetools", **OURS, **by_peers})
    by_hand, middleware, mounted, *peers = await compare(bench, sides)
    goal = Goal(
        number=3, what=BY_HAND.format("mounted", by_hand.name), bound=Bound("at least", 1.6), stretch=3.0
    )
    return [
        rate_line(goal, mounted, by_hand),
        rate_line(Goal(number=3, what=BY_HAND.format("middleware form", by_hand.name)), middleware, by_hand),
        *[
            rate_line(Goal(number=3, what=BY_HAND.format("mounted", peer.name)), mounted, peer)
            for peer in peers
        ],
        *[
            Line(goal=3, what=BY_HAND.format("mounted", peer), skipped=f"{peer} is not installed")
            for peer in PEERS
            if peer not in installed
        ],
    ]


async def _sides(bench: Bench, apps: dict[str, str]) -> list[Side]:
    workers = await bench.workers(*apps.values())
    return [
        Side(name=name, worker=worker, requests=repeating(ask_for_link()))
        for name, worker in zip(apps, workers, strict=True)
    ]
