"""Goals 10 and 11: what a cached link takes, and the longest step, in a process that keeps a million."""

from __future__ import annotations

import json

from benchmarks.bench import Bench
from benchmarks.figures import Bound, spread
from benchmarks.lines import Line
from benchmarks.processes import ANSWER_DEADLINE, Child

BYTES_AT_MOST, BYTES_STRETCH = 980, 930
STALL_AT_MOST, STALL_STRETCH = 5, 1  # milliseconds
RUNS = 3  # the system gives memory in pieces of a size that it chooses
Runs = list[dict[str, float]]


async def measure(bench: Bench) -> list[Line]:
    """Ours, and cachetools' TTLCache beside it."""
    ours, by_hand = await _runs(bench, "ours"), await _runs(bench, "TTLCache")
    links = f"{bench.effort.links:,} links of 700 bytes"
    bytes_bound, stall_bound = Bound("at most", BYTES_AT_MOST), Bound("at most", STALL_AT_MOST)
    collecting = spread([run["collecting_ms"] for run in ours]).median
    collection = f"one whole garbage collection takes {collecting:.0f} ms at {links}"
    return [
        _line(10, f"memory per link, {links}", "B", ours, bytes_bound, BYTES_STRETCH),
        _line(10, f"memory per link, {links}, TTLCache", "B", by_hand),
        _line(11, f"the longest step, {links}", "ms", ours, stall_bound, STALL_STRETCH, collection),
        _line(11, f"the longest step, {links}, TTLCache", "ms", by_hand),
    ]


def _line(
    goal: int,
    what: str,
    unit: str,
    runs: Runs,
    bound: Bound | None = None,
    stretch: float | None = None,
    remark: str = "",
) -> Line:
    measured = [round(run["bytes_per_link"]) if unit == "B" else run["longest_ms"] for run in runs]
    return Line(
        goal=goal,
        what=what,
        unit="B" if unit == "B" else "ms",
        bound=bound,
        stretch=stretch,
        measured=spread(measured),
        details={"runs": runs},
        remark=remark,
    )


async def _runs(bench: Bench, kind: str) -> Runs:
    return [await _run(bench, kind) for _ in range(min(RUNS, bench.effort.rounds))]


async def _run(bench: Bench, kind: str) -> dict[str, float]:
    command = ("benchmarks.many_links", kind, str(bench.effort.links))
    child = await Child.start(*command, folder=bench.folder, environment={})
    try:
        run: dict[str, float] = json.loads(await child.line(deadline=ANSWER_DEADLINE))
    finally:
        await child.stop()
    return run
