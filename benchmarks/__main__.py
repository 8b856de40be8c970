"""``python -m benchmarks``: prints the goals with what this machine measures."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from benchmarks import machine
from benchmarks.bench import Bench
from benchmarks.effort import EFFORTS
from benchmarks.goals import GOALS, MEASUREMENTS
from benchmarks.lines import Line, table
from benchmarks.paired import WrongAnswers
from benchmarks.processes import ProcessFailed

FAILED = "could not be measured"


async def measure(effort: str, only: set[int]) -> list[Line]:
    """The lines of these goals, in the order of the goals."""
    lines: list[Line] = []
    async with Bench(EFFORTS[effort]) as bench:
        for goals, run in MEASUREMENTS:
            if goals & only:
                print(f"measuring {', '.join(map(str, sorted(goals)))} ...", file=sys.stderr, flush=True)
                try:
                    lines += await run(bench)
                except (WrongAnswers, ProcessFailed) as error:
                    # The other goals' figures are none the worse.
                    lines += [Line(goal=goal, what=FAILED, failed=str(error)) for goal in goals & only]
    return sorted((line for line in lines if line.goal in only), key=lambda line: line.goal)


def main() -> None:
    """Measure, print the table, and write it down where that is wanted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--effort", choices=EFFORTS, default="full", help="how long to measure")
    parser.add_argument("--only", type=int, choices=GOALS, action="append", help="this goal (repeatable)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    options = parser.parse_args()
    described = machine.describe()
    lines = asyncio.run(measure(options.effort, set(options.only or GOALS)))
    print(" · ".join(f"{name.replace('_', ' ')}: {value}" for name, value in described.items()), end="\n\n")
    print(table(lines))
    if options.json is not None:
        told = {"effort": options.effort, "machine": described, "lines": [line.as_json() for line in lines]}
        options.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    sys.exit(any(line.failed for line in lines))


if __name__ == "__main__":
    main()
