"""Each of the thirty faults has a test, and a row on the page."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.faults.report import PAGE
from tests.faults.rows import ROWS, Row

ROOT = Path(__file__).parents[2]


def names_in(file: str) -> set[str]:
    """Return the names of the tests in a file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds) and node.name.startswith("test_")}


def test_the_rows_are_numbered_from_1_to_30() -> None:
    assert [row.number for row in ROWS] == list(range(1, 31))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.number))
def test_a_row_has_at_least_one_test_and_each_of_them_exists(row: Row) -> None:
    assert row.tests
    for test in row.tests:
        file, _, name = test.partition("::")
        assert name in names_in(file), test


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.number))
def test_the_page_has_the_row_with_a_figure_and_its_command(row: Row) -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    [line] = [line for line in lines if line.startswith(f"| {row.number} |")]
    number, fault, expected, measured, command, uncovered = (
        cell.strip() for cell in line.strip("| ").split(" | ")
    )
    assert (int(number), fault, expected, uncovered) == (row.number, row.fault, row.expected, row.uncovered)
    assert command in {f'`make {target} ARGS="--rows {row.number}"`' for target in ("faults", "soak-faults")}
    assert re.search(r"\b[1-9][0-9]* cases? passed", measured)
    assert "FAILED" not in measured
