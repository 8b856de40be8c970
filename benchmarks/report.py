"""The printed table: a target, what was measured for it, and whether the bound holds."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

HOLDS = {">=": operator.ge, "<=": operator.le, "=": operator.eq}


@dataclass(frozen=True, slots=True)
class Spread:
    """The median and the quartiles of several measurements of one thing."""

    median: float
    first_quartile: float
    third_quartile: float


@dataclass(frozen=True, slots=True)
class Bound:
    """What a target requires of the median, in the line's own unit."""

    sign: Literal[">=", "<=", "="]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table; without a bound it is there for comparison only."""

    target: int  # its number in docs/performance.md
    what: str
    bound: Bound | None = None
    unit: Literal["x", "calls", "ms", "B"] = "x"
    measured: Spread | None = None
    cpu: Spread | None = None  # for a ratio of requests per second: the ratio of the CPU per request
    details: dict[str, object] = field(default_factory=dict)  # for programs
    remark: str = ""
    skipped: str = ""  # why there is no figure
    failed: str = ""  # why the target is not met, whatever the figure is

    @property
    def met(self) -> bool | None:
        """Whether the bound holds; None without a bound or a figure."""
        if self.failed:
            return False
        if self.bound is None or self.measured is None:
            return None
        return bool(HOLDS[self.bound.sign](self.measured.median, self.bound.value))

    def as_json(self) -> dict[str, object]:
        """Return the line for programs."""
        return {**asdict(self), "met": self.met}

    def as_row(self) -> list[str]:
        """Return the line for the table."""
        bound = f"{self.bound.sign} {self._format(self.bound.value)}" if self.bound else ""
        measured = self.skipped or self._spread(self.measured) or "failed"
        cpu = "" if self.cpu is None else f"{self.cpu.median:.2f}x"
        met = {True: "yes", False: "NO", None: ""}[self.met]
        return [str(self.target), self.what, bound, measured, cpu, met]

    def _spread(self, values: Spread | None) -> str:
        if values is None or values.first_quartile == values.third_quartile:
            return "" if values is None else self._format(values.median)
        quartiles = self._number(values.first_quartile), self._number(values.third_quartile)
        return f"{self._format(values.median)} ({'-'.join(quartiles)})"

    def _format(self, value: float) -> str:
        return self._number(value) + {"x": "x", "calls": ""}.get(self.unit, f" {self.unit}")

    def _number(self, value: float) -> str:
        return f"{value:.2f}" if self.unit == "x" else f"{value:.4g}"


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles of at least one measurement."""
    first, middle, third = statistics.quantiles([*values, *values[: len(values) == 1]], method="inclusive")
    return Spread(middle, first, third)


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Return the spread of each round's own ratio."""
    return spread([one / other for one, other in zip(above, below, strict=True)])


def table(lines: Sequence[Line]) -> str:
    """Return the lines as a Markdown table, followed by the remarks."""
    header = ["#", "what", "must hold", "measured", "CPU per request", "met"]
    rows = [header, *(line.as_row() for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    remarks = [f"{line.target}: {text}" for line in lines for text in (line.failed, line.remark) if text]
    return "\n".join([*(f"| {' | '.join(row)} |" for row in padded), "", *dict.fromkeys(remarks)])
