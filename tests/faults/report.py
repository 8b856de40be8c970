"""A pytest plugin: prints the table of faults, with what the tests of each row have measured.

A test states a figure with pytest's ``record_property("figure", …)``. Without one, its cases are counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.rows import Row
from tests.faults.sizes import FULL

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


class FaultTable:
    """Collects the outcomes of the tests of some rows."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self._figures: defaultdict[str, list[str]] = defaultdict(list)
        self._outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = report.nodeid.partition("[")[0]
        if report.when == "call" or report.outcome != "passed":
            self._outcomes[test][report.outcome] += 1
            figures = [str(value) for name, value in report.user_properties if name == "figure"]
            self._figures[test] += [one for one in figures if one not in self._figures[test]]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("faults")
        for row in self._rows:
            terminalreporter.write_line(self.line(row))

    def line(self, row: Row) -> str:
        """Return the row as Markdown."""
        target = "soak-faults" if FULL else "faults"
        command = f'`make {target} ARGS="--rows {row.number}"`'
        cells = (str(row.number), row.fault, row.expected, self._measured(row), command, row.uncovered)
        return f"| {' | '.join(cells)} |"

    def write(self) -> None:
        """Replace the rows on the page."""
        lines = PAGE.read_text(encoding="utf-8").splitlines()
        for row in self._rows:
            [at] = [at for at, line in enumerate(lines) if line.startswith(f"| {row.number} |")]
            lines[at] = self.line(row)
        PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _measured(self, row: Row) -> str:
        outcomes = sum((self._outcomes[test] for test in row.tests), Counter[str]())
        figures = [figure for test in row.tests for figure in self._figures[test]]
        if outcomes["failed"]:
            figures.insert(0, f"FAILED: {outcomes['failed']}")
        passed = outcomes["passed"]
        figures.append(f"{passed} case{'s' if passed != 1 else ''} passed")
        if outcomes["skipped"]:
            figures.append(f"{outcomes['skipped']} only in full size")
        return "; ".join(figures)
