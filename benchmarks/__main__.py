"""``python -m benchmarks``: print the targets with what this machine measures."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

import uvicorn

from benchmarks import clicks, delivery, footprint, links, processes, records
from benchmarks.bench import EFFORTS, Bench, WrongAnswers
from benchmarks.processes import NotInstalled, ProcessFailed
from benchmarks.report import Line, table

MEASUREMENTS: list[tuple[tuple[int, ...], Callable[[Bench], Awaitable[list[Line]]]]] = [
    ((1, 2), links.measure_cached),
    ((3,), links.measure_bearer),
    ((4,), links.measure_sdk),
    ((5, 6), links.measure_stampedes),
    ((5, 6), links.measure_stampedes_with_redis),
    ((7,), footprint.measure_windows),
    ((8,), links.measure_mints),
    ((9,), records.measure_webhooks),
    ((10,), records.measure_growth),
    ((11,), records.measure_completions),
    ((12,), records.measure_sqlite),
    ((12,), records.measure_postgresql),
    ((13, 14), footprint.measure_cache),
    ((15,), footprint.measure_imports),
    ((16,), links.measure_refusals),
    ((17,), clicks.measure_clicks),
    ((18,), delivery.measure_delivery),
    ((19,), delivery.measure_idle),
    ((20,), links.measure_telemetry),
]
TARGETS = range(1, 21)


async def measure(effort: str, only: set[int]) -> list[Line]:
    """Return the lines of these targets, in their order."""
    processes.pin(os.getpid(), processes.LOADER_CORE)
    lines: list[Line] = []
    async with Bench(EFFORTS[effort]) as bench:
        for targets, run in MEASUREMENTS:
            if not (wanted := only.intersection(targets)):
                continue
            what = f"{run.__module__}.{run.__name__}"
            print(f"{what} ...", file=sys.stderr, flush=True)
            try:
                lines += await run(bench)
            except NotInstalled as error:
                lines += [Line(one, what, skipped=f"{error} is not installed") for one in wanted]
            except (WrongAnswers, ProcessFailed) as error:
                lines += [Line(one, what, failed=str(error)) for one in wanted]
    return sorted((line for line in lines if line.target in only), key=lambda line: line.target)


def main() -> None:
    """Measure, print the table, and write the figures to a file if that is wanted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--effort", choices=EFFORTS, default="full", help="how long to measure")
    parser.add_argument("--only", type=int, choices=TARGETS, action="append", help="this target (repeatable)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to this file")
    options = parser.parse_args()
    machine = processes.describe_machine()
    # The event loop that uvicorn chooses, so that the load is as fast as the servers.
    with asyncio.Runner(loop_factory=uvicorn.Config(app="").get_loop_factory()) as runner:
        lines = runner.run(measure(options.effort, set(options.only or TARGETS)))
    print(" · ".join(f"{name.replace('_', ' ')}: {value}" for name, value in machine.items()), end="\n\n")
    print(table(lines))
    if options.json is not None:
        report = {
            "effort": options.effort,
            "machine": machine,
            "lines": [{**asdict(line), "met": line.met} for line in lines],
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    sys.exit(any(line.failed for line in lines))


if __name__ == "__main__":
    main()
