"""Goals 1 to 3: a cached link, against the least that a route can do and against caches written by hand."""

from __future__ import annotations

import importlib.util

from benchmarks.bench import Bench, has_setting
from benchmarks.figures import Bound
from benchmarks.lines import Line
from benchmarks.paired import Side, compare, repeating
from benchmarks.wire import ask_for_link

OURS = {"middleware": "ours_middleware", "mounted": "ours_mounted"}
PEERS = ("aiocache", "cashews")


async def measure(bench: Bench) -> list[Line]:
    """Our two forms against the constant route, and against hand-written endpoints."""
    return [*await _against_a_constant(bench), *await _against_hand_written(bench)]


async def _against_a_constant(bench: Bench) -> list[Line]:
    names = {"constant": "starlette_constant", **OURS}
    sides = await _sides(bench, names)
    if has_setting("KOMBO_AUTH"):
        worker = await bench.worker("ours_by_settings", KOMBO_AUTH="session")
        sides.append(Side(name="KOMBO_AUTH=session", worker=worker, requests=repeating(ask_for_link())))
    constant, middleware, mounted, *by_settings = await compare(bench, sides)
    against = "Starlette route + SessionMiddleware with a constant answer"
    cases = [
        (1, f"cached link, middleware form / {against}", middleware, Bound("at least", 1.0), 1.5),
        (2, f"cached link, mounted / {against}", mounted, Bound("at least", 0.8), 1.0),
        *[
            (2, "cached link, mounted, KOMBO_AUTH=session / the same", one, Bound("at least", 0.8), 1.0)
            for one in by_settings
        ],
    ]
    return [
        Line(
            goal=goal,
            what=what,
            bound=bound,
            stretch=stretch,
            measured=one.faster_than(constant),
            cpu=one.cpu_over(constant),
            details={"ours": one.details(), "baseline": constant.details()},
        )
        for goal, what, one, bound, stretch in cases
    ]


async def _against_hand_written(bench: Bench) -> list[Line]:
    installed = [peer for peer in PEERS if importlib.util.find_spec(peer) is not None]
    by_peers = {peer: f"handrolled_{peer}" for peer in installed}
    sides = await _sides(bench, {"TTLCache by hand": "handrolled_cachetools", **by_peers, **OURS})
    first, *others = await compare(bench, sides)
    peers, (middleware, mounted) = others[: len(by_peers)], others[len(by_peers) :]
    what = "cached link, {} / FastAPI + SessionMiddleware + {}"
    cases = [
        (what.format("mounted", "TTLCache by hand"), mounted, first, Bound("at least", 1.6)),
        (what.format("middleware form", "TTLCache by hand"), middleware, first, None),
        *[(what.format("mounted", peer.name), mounted, peer, None) for peer in peers],
    ]
    lines = [
        Line(
            goal=3,
            what=text,
            bound=bound,
            stretch=3.0 if bound else None,
            measured=one.faster_than(other),
            cpu=one.cpu_over(other),
            details={"ours": one.details(), "baseline": other.details()},
        )
        for text, one, other, bound in cases
    ]
    missing = [peer for peer in PEERS if peer not in installed]
    return [
        *lines,
        *[
            Line(goal=3, what=what.format("mounted", peer), skipped=f"{peer} is not installed")
            for peer in missing
        ],
    ]


async def _sides(bench: Bench, apps: dict[str, str]) -> list[Side]:
    workers = await bench.workers(*apps.values())
    return [
        Side(name=name, worker=worker, requests=repeating(ask_for_link()))
        for name, worker in zip(apps, workers, strict=True)
    ]
