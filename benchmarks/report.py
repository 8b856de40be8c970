"""The printed table: a target, what was measured for it, and whether the bound holds."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal, NamedTuple

HOLDS = {">=": operator.ge, "<=": operator.le, "=": operator.eq}
Bound = tuple[Literal[">=", "<=", "="], float]  # what must hold for the median, in the line's own unit


class Spread(NamedTuple):
    """The median and the quartiles of several measurements of one thing."""

    median: float
    first_quartile: float
    third_quartile: float


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table."""

    target: int  # its number in docs/performance.md
    what: str
    bound: Bound | None = None
    measured: Spread | None = None
    _: KW_ONLY
    unit: Literal["x", "calls", "ms", "B", "/s"] = "x"
    cpu: Spread | None = None  # for a ratio of requests per second: the ratio of the CPU per request
    details: dict[str, object] = field(default_factory=dict)  # for programs
    remark: str = ""
    skipped: str = ""  # why there is no figure
    failed: str = ""  # why the target is not met, whatever the figure is

    @property
    def met(self) -> bool | None:
        """Whether the bound holds; None without a bound or a figure."""
        if self.failed or self.bound is None or self.measured is None:
            return False if self.failed else None
        return bool(HOLDS[self.bound[0]](self.measured.median, self.bound[1]))

    def as_row(self) -> list[str]:
        """Return the line for the table."""
        bound = f"{self.bound[0]} {self._format(self.bound[1])}" if self.bound else ""
        measured, cpu = self.skipped or "failed", "" if self.cpu is None else f"{self.cpu.median:.2f}x"
        if self.measured is not None:
            median, first, third = map(self._format, self.measured)
            measured = median if first == third else f"{median} ({first} to {third})"
        met = {True: "yes", False: "NO", None: ""}[self.met]
        return [str(self.target), self.what, bound, measured, cpu, met]

    def _format(self, value: float) -> str:
        return f"{value:.2f}x" if self.unit == "x" else f"{value:.4g} {self.unit}"


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
