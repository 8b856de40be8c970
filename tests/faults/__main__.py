"""Run the tests of the faults and print their table: ``python -m tests.faults [--rows 1,2] [--write] …``.

``--write`` replaces the rows in docs/reliability.md. Other arguments are pytest's.
"""

from __future__ import annotations

import argparse
import sys

import pytest

from tests.faults.report import FaultTable
from tests.faults.rows import ROWS


def main() -> int:
    """Run them; return pytest's exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--rows", default="", help="numbers, separated by commas; all by default")
    parser.add_argument("--write", action="store_true", help="replace the rows in docs/reliability.md")
    arguments, others = parser.parse_known_args()
    numbers = {int(number) for number in arguments.rows.split(",") if number}
    rows = [row for row in ROWS if not numbers or row.number in numbers]
    table = FaultTable(rows)
    tests = list(dict.fromkeys(test for row in rows for test in row.tests))
    code = pytest.main([*tests, *others], plugins=[table])
    if arguments.write:
        table.write()
    return int(code)


sys.exit(main())
