"""The goals of docs/performance.md: which measurement tells of which."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from benchmarks.bench import Bench
from benchmarks.goals import (
    bearer,
    every_request,
    hits,
    imports,
    memory,
    mints,
    refusals,
    stampedes,
    webhooks,
    windows,
)
from benchmarks.lines import Line

MEASUREMENTS: list[tuple[set[int], Callable[[Bench], Awaitable[list[Line]]]]] = [
    ({1, 2, 3}, hits.measure),
    ({4}, bearer.measure),
    ({5}, every_request.measure),
    ({6, 7}, stampedes.measure),
    ({8}, windows.measure),
    ({9}, mints.measure),
    ({10, 11}, memory.measure),
    ({12}, imports.measure),
    ({13}, webhooks.measure),
    ({14}, refusals.measure),
]
GOALS = range(1, 15)
