"""The lines of the table: what was measured for a goal, against what, and whether that is enough."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal

from benchmarks.figures import Bound, Spread

Unit = Literal["x", "calls", "ms", "B"]
SIGNS = {"at least": ">=", "at most": "<=", "exactly": "="}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One measured line. Without a bound it is there to compare with; with ``skipped`` it was not measured.

    Args:
        goal: The number of the goal in docs/performance.md.
        what: What was measured, against what.
        unit: ``x`` for ratios.
        bound: What must hold.
        stretch: What would be better still.
        measured: The figure.
        cpu: For ratios of requests per second: the ratio of the CPU time per request.
        details: Anything else that was measured on the way, for the machine-readable output.
        remark: What a reader must know to understand the figure.
        skipped: Why there is no figure.
        failed: What went wrong instead.
    """

    goal: int
    what: str
    unit: Unit = "x"
    bound: Bound | None = None
    stretch: float | None = None
    measured: Spread | None = None
    cpu: Spread | None = None
    details: dict[str, object] = field(default_factory=dict)
    remark: str = ""
    skipped: str = ""
    failed: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none, or no figure."""
        if self.bound is None or self.measured is None:
            return None
        return self.bound.holds(self.measured.median)

    def as_json(self) -> dict[str, object]:
        """The line for programs."""
        return {**asdict(self), "met": self.met}


def table(lines: list[Line]) -> str:
    """The lines as a Markdown table, with the remarks below it."""
    rows = [["#", "what", "must hold", "measured", "CPU per request", "met"], *map(_row, lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    text = "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    )
    remarks = dict.fromkeys(
        f"{line.goal}: {line.failed or line.remark}" for line in lines if line.failed or line.remark
    )
    return "\n".join([text, *(["", *remarks] if remarks else [])])


def _row(line: Line) -> list[str]:
    bound = ""
    if line.bound is not None:
        bound = f"{SIGNS[line.bound.side]} {_figure(line.bound.value, line.unit)}"
    met = {True: "yes", False: "NO", None: ""}[line.met]
    if line.skipped or line.failed:
        return [str(line.goal), line.what, bound, line.skipped or "failed", "", ""]
    return [str(line.goal), line.what, bound, _spread(line.measured, line.unit), _spread(line.cpu, "x"), met]


def _spread(values: Spread | None, unit: Unit) -> str:
    if values is None:
        return ""
    middle = _figure(values.median, unit)
    if values.least == values.most:
        return middle
    return f"{middle} ({_plain(values.first_quartile, unit)}-{_plain(values.third_quartile, unit)})"


def _figure(value: float, unit: Unit) -> str:
    return _plain(value, unit) + ("x" if unit == "x" else f" {unit}" if unit != "calls" else "")


def _plain(value: float, unit: Unit) -> str:
    if unit in {"calls", "B"}:
        return f"{value:g}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"  # noqa: PLR2004 - three digits say enough
