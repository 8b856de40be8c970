"""The benchmarks run: a few requests of each kind. No figure is asserted."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import growth_lists
from benchmarks.__main__ import TARGETS
from benchmarks.bench import EFFORTS, Bench
from benchmarks.loader import parse_status
from benchmarks.report import Bound, Line, ratios, spread, table
from benchmarks.sizes import measure

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """The printed output and the JSON report of a small run."""
    written = tmp_path_factory.mktemp("benchmarks") / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--effort", "smoke", "--json", str(written)]
    process = subprocess.run(  # noqa: S603 - our own program
        command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout, json.loads(written.read_text(encoding="utf-8"))


@pytest.mark.integration
@pytest.mark.parametrize("target", TARGETS)
def test_every_target_is_measured_or_printed_with_the_reason_why_not(
    target: int, run: tuple[str, dict[str, Any]]
) -> None:
    printed, report = run
    lines = [line for line in report["lines"] if line["target"] == target]
    assert lines
    assert f"| {target} " in printed
    for line in lines:
        if line["skipped"]:
            assert line["skipped"].endswith("is not installed")
        else:
            assert line["measured"][0] > 0


@pytest.mark.integration
def test_the_growth_of_invalidations_and_lists_is_measured(tmp_path: Path) -> None:
    numbers = itertools.count()
    urls = (f"sqlite+aiosqlite:///{tmp_path}/{number}.db" for number in numbers)
    rows = growth_lists.measure(lambda: next(urls), divide_by=10_000)
    assert len(rows) == 9
    assert all(value > 0 for one in rows for value in one.milliseconds)


@pytest.mark.integration
def test_the_report_describes_the_machine_without_its_name(run: tuple[str, dict[str, Any]]) -> None:
    _, report = run
    assert report["machine"]["python"].startswith("CPython 3.")
    assert report["machine"]["cores"] >= 1


@pytest.mark.integration
def test_a_stampede_makes_one_upstream_call_per_worker_without_redis(
    run: tuple[str, dict[str, Any]],
) -> None:
    _, report = run
    lines = [
        line for line in report["lines"] if line["target"] == 5 and line["what"].endswith("without Redis")
    ]
    assert len(lines) > 1
    assert all(line["met"] and line["details"]["errors"] == 0 for line in lines)


@pytest.mark.integration
async def test_the_database_keeps_an_event_as_received_and_for_the_host() -> None:
    async with Bench(EFFORTS["smoke"]) as bench:
        sizes = await measure(bench, bench.database_url(), 10)
    assert len(sizes) == 4
    assert sizes["other event of 2 KB"] > 2 * 2000


def test_a_ratio_is_taken_within_each_round() -> None:
    # Twice as fast in every round, on a machine that slows down meanwhile.
    assert ratios([200, 100, 20], [100, 50, 10]) == spread([2, 2, 2])


@pytest.mark.parametrize(
    ("bound", "met", "not_met"),
    [((">=", 1), 1, 0.99), (("<=", 5), 5, 5.01), (("=", 1), 1, 2)],
)
def test_the_median_decides_whether_a_target_is_met(bound: Bound, met: float, not_met: float) -> None:
    lines = [
        Line(1, "this", bound, spread([met, met, 99])),
        Line(2, "that", bound, spread([not_met, not_met, 99])),
    ]
    assert [line.met for line in lines] == [True, False]
    first, second = table(lines).splitlines()[2:4]
    assert first.endswith("| yes |")
    assert second.endswith("| NO  |")


def test_a_target_with_failed_requests_is_not_met_whatever_the_figure() -> None:
    line = Line(5, "calls", ("=", 1), spread([1]), failed="3 requests failed")
    assert line.met is False
    assert table([line]).endswith("\n5: 3 requests failed")


@pytest.mark.parametrize(
    ("received", "status"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", 200),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n", None),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
    ],
)
def test_the_load_recognizes_the_end_of_an_answer(received: bytes, status: int | None) -> None:
    assert parse_status(received) == status
