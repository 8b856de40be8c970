"""Rounds in which all sides run, one after the other, in alternating order: only their ratios are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.figures import Bound, Spread, ratios, spread
from benchmarks.lines import Line
from benchmarks.processes import Worker

WARM_SECONDS = 0.2
Requests = Callable[[], Sequence[bytes]]


class WrongAnswers(Exception):
    """A server did not answer as it must, so its speed means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side of a ratio.

    Args:
        name: What it is called in the output.
        worker: The server.
        requests: Gives what the connections of one round send, in turn.
        status: What every answer must be.
    """

    name: str
    worker: Worker
    requests: Requests
    status: int = 200


def repeating(*requests: bytes) -> Requests:
    """The same requests in every round."""
    return lambda: requests


@dataclass(frozen=True, slots=True)
class Measured:
    """What each round of one side came to: requests per second; CPU and p99 in microseconds."""

    name: str
    rates: list[float]
    cpu: list[float]
    p99: list[float]
    loader_busy: list[float]
    resident: int

    def details(self) -> dict[str, object]:
        """The figures behind the ratios: of this machine, on this day."""
        return {
            "name": self.name,
            "requests_per_second": spread(self.rates).median,
            "cpu_us": spread(self.cpu).median,
            "p99_us": spread(self.p99).median,
            "loader_busy": spread(self.loader_busy).median,
            "resident_mb": self.resident / 1e6,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A goal, as a line tells of it."""

    number: int
    what: str
    bound: Bound | None = None
    stretch: float | None = None
    remark: str = ""


def rate_line(goal: Goal, ours: Measured, other: Measured) -> Line:
    """How many times the other side's requests per second ours are, and at what CPU time per request."""
    return _line(goal, ours, other, ratios(ours.rates, other.rates), ratios(ours.cpu, other.cpu))


def cpu_line(goal: Goal, ours: Measured, other: Measured) -> Line:
    """How many times the other side's CPU time per request ours is."""
    return _line(goal, ours, other, ratios(ours.cpu, other.cpu), None)


def _line(goal: Goal, ours: Measured, other: Measured, measured: Spread, cpu: Spread | None) -> Line:
    return Line(
        goal=goal.number,
        what=goal.what,
        bound=goal.bound,
        stretch=goal.stretch,
        measured=measured,
        cpu=cpu,
        details={"ours": ours.details(), "baseline": other.details()},
        remark=goal.remark,
    )


async def compare(bench: Bench, sides: Sequence[Side], *, connections: int | None = None) -> list[Measured]:
    """Run all sides in paired rounds; what is returned is in the order of the sides.

    Raises:
        WrongAnswers: A server failed, or answered with another status.
    """
    connections = connections or bench.effort.connections
    measured = [Measured(side.name, [], [], [], [], 0) for side in sides]
    for side in sides:
        await _run(bench, side, connections, min(WARM_SECONDS, bench.effort.seconds))
    for number in range(bench.effort.rounds):
        pairs = list(zip(sides, measured, strict=True))
        for side, into in pairs if number % 2 == 0 else reversed(pairs):
            await _measure(bench, side, connections, into)
    return [
        Measured(one.name, one.rates, one.cpu, one.p99, one.loader_busy, (await side.worker.used()).resident)
        for side, one in zip(sides, measured, strict=True)
    ]


async def _measure(bench: Bench, side: Side, connections: int, into: Measured) -> None:
    before = await side.worker.used()
    rate, p99, answers, loader_busy = await _run(bench, side, connections, bench.effort.seconds)
    after = await side.worker.used()
    into.rates.append(rate)
    into.cpu.append((after.cpu - before.cpu) / answers * 1e6)
    into.p99.append(p99 * 1e6)
    into.loader_busy.append(loader_busy)


async def _run(bench: Bench, side: Side, connections: int, seconds: float) -> tuple[float, float, int, float]:
    load = await bench.load([side.worker.port], side.requests(), connections=connections, seconds=seconds)
    if load.failures(side.status):
        raise WrongAnswers(f"{side.name}: {load.statuses}, {load.lost} lost; expected {side.status}")
    return load.answers / load.seconds, load.p99, load.answers, load.loader_busy
