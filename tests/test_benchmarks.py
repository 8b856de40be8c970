"""The benchmarks run: a few dozen requests each. How fast anything was is not looked at.

Most of the time goes into starting servers, so the goals that start many run with ``BENCHMARKS_SOAK=1`` only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.figures import Bound, ratios, spread
from benchmarks.goals import GOALS
from benchmarks.lines import Line, table
from benchmarks.loader import whole_answer
from benchmarks.sizes import measure

ROOT = Path(__file__).parent.parent
SMALL = (9, 10, 11, 12, 13)
MEASURED = GOALS if os.environ.get("BENCHMARKS_SOAK") else SMALL
soak = pytest.mark.skipif(MEASURED is SMALL, reason="many servers, with BENCHMARKS_SOAK=1")
EXCUSE = "is not installed"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What a small run printed, and wrote."""
    written = tmp_path_factory.mktemp("benchmarks") / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--effort", "smoke", "--json", str(written)]
    command += [f"--only={goal}" for goal in MEASURED]
    run = subprocess.run(  # noqa: S603 - our own program
        command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout, json.loads(written.read_text(encoding="utf-8"))


@pytest.mark.parametrize("goal", [pytest.param(goal, marks=() if goal in SMALL else soak) for goal in GOALS])
def test_every_goal_is_measured_or_says_why_not(goal: int, report: tuple[str, dict[str, Any]]) -> None:
    printed, told = report
    lines = [line for line in told["lines"] if line["goal"] == goal]
    assert lines
    assert f"| {goal} " in printed
    for line in lines:
        if line["skipped"]:
            assert line["skipped"].endswith(EXCUSE)
        else:
            assert line["measured"]["median"] > 0


def test_the_machine_is_described_without_a_name(report: tuple[str, dict[str, Any]]) -> None:
    _, told = report
    assert told["machine"]["python"].startswith("CPython 3.")
    assert told["machine"]["cores"] >= 1


@soak
def test_a_stampede_of_first_requests_is_one_call_per_worker_without_redis(
    report: tuple[str, dict[str, Any]],
) -> None:
    _, told = report
    stampedes = [line for line in told["lines"] if line["goal"] == 6 and line["what"].endswith("no Redis")]
    assert len(stampedes) > 1
    assert all(line["met"] and line["details"]["errors"] == 0 for line in stampedes)


async def test_an_event_is_in_the_database_as_received_and_for_the_host(tmp_path: Path) -> None:
    grown = await measure(tmp_path, 10)
    assert len(grown) == 4
    assert grown["another event of 2 KB"] > 2 * 2000


def test_a_ratio_is_taken_within_each_round() -> None:
    # Twice as fast in every round, on a machine that slows down meanwhile.
    assert ratios([200, 100, 20], [100, 50, 10]) == spread([2, 2, 2])


@pytest.mark.parametrize(
    ("bound", "met", "not_met"),
    [(Bound("at least", 1), 1, 0.99), (Bound("at most", 5), 5, 5.01), (Bound("exactly", 1), 1, 2)],
)
def test_a_goal_is_met_or_not_by_the_median(bound: Bound, met: float, not_met: float) -> None:
    lines = [
        Line(goal=1, what="this", bound=bound, measured=spread([met, met, 99])),
        Line(goal=2, what="that", bound=bound, measured=spread([not_met, not_met, 99])),
    ]
    assert [line.met for line in lines] == [True, False]
    *_, first, second = table(lines).splitlines()
    assert first.endswith("| yes |")
    assert second.endswith("| NO  |")


@pytest.mark.parametrize(
    ("received", "status"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", 200),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n", None),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
    ],
)
def test_the_loader_sees_where_an_answer_ends(received: bytes, status: int | None) -> None:
    assert whole_answer(received) == status
