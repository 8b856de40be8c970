"""The numbers of the overview, and the geometry of its charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kombo_embed.store.support import counts
from kombo_embed.store.support.overview import OverviewData

HEIGHT, STEP, WIDTH = 100, 10, 8  # of a chart, from bar to bar, and of a bar
TOOLS_SHOWN = 30


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a chart, at a day or an hour."""

    at: datetime
    count: int
    x: int
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of the funnel: how many reached it, in percent of the first stage and of the one before."""

    name: str
    count: int
    of_first: int
    of_previous: int | None


@dataclass(frozen=True, slots=True)
class ToolRow:
    """What happened with one tool; ``median_seconds`` is from a link to the connection."""

    tool: str
    connected: int
    failed: int
    abandoned: int
    median_seconds: float | None

    @property
    def conversion(self) -> int:
        """Return the share of attempts that ended with a connection, in percent."""
        return percent(self.connected, self.connected + self.failed + self.abandoned)


def bars(series: Mapping[datetime, int], *, first: datetime, step: timedelta, number: int) -> list[Bar]:
    """Return the bars of a chart, also where nothing was counted."""
    most = max(series.values(), default=0)
    found = []
    for index in range(number):
        at = first + index * step
        count = series.get(at, 0)
        # What is there is visible, however small.
        height = max(2.0, HEIGHT * count / most) if count else 0.0
        found.append(Bar(at, count, index * STEP + 1, round(HEIGHT - height, 1), round(height, 1)))
    return found


def funnel(data: OverviewData) -> list[Stage]:
    """Return the stages from a link to an integration that works."""
    named = (
        ("Links handed out", counts.LINKS),
        ("Connected", counts.CONNECTED),
        ("Set up", counts.SET_UP),
        ("Healthy now", counts.HEALTHY),
    )
    numbers = [(name, sum(data.totals.get(metric, {}).values())) for name, metric in named]
    most = max(count for _, count in numbers)
    stages: list[Stage] = []
    for name, count in numbers:
        previous = percent(count, stages[-1].count) if stages else None
        stages.append(Stage(name, count, percent(count, most), previous))
    return stages


def tools(data: OverviewData) -> list[ToolRow]:
    """Return the tools that were used most, and how connecting them went."""
    of = {name: data.totals.get(name, {}) for name in (counts.CONNECTED, counts.FAILED, counts.ABANDONED)}
    names = {tool for numbers in of.values() for tool in numbers}
    rows = [
        ToolRow(
            tool,
            connected=of[counts.CONNECTED].get(tool, 0),
            failed=of[counts.FAILED].get(tool, 0),
            abandoned=of[counts.ABANDONED].get(tool, 0),
            median_seconds=median(data, tool),
        )
        for tool in names
    ]
    return sorted(rows, key=lambda row: (-row.connected - row.failed - row.abandoned, row.tool))[:TOOLS_SHOWN]


def median(data: OverviewData, tool: str) -> float | None:
    """Return about the median of a tool's durations, from how many fell into which bin."""
    numbers: Sequence[int] = [data.totals.get(name, {}).get(tool, 0) for name in counts.BINS]
    half, below = sum(numbers) / 2, 0
    bounds = (0, *counts.DURATIONS, counts.DURATIONS[-1])
    for index, number in enumerate(numbers):
        if number and below + number >= half:
            width = bounds[index + 1] - bounds[index]
            return float(bounds[index] + width * (half - below) / number)
        below += number
    return None


def percent(part: int, whole: int) -> int:
    """Return a share in percent; 0 of nothing."""
    return round(100 * part / whole) if whole else 0
