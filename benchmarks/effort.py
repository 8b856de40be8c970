"""How much is measured: for a table to print, for a look in between, or only to see that all of it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long, how often and how many.

    Args:
        rounds: How often each side of a ratio runs.
        seconds: How long it runs, each time.
        connections: Keep-alive connections per run.
        burst: Requests at once in a stampede.
        workers: Over how many worker processes a stampede goes.
        links: Links in the cache of a process that keeps many.
        hours: Simulated hours of requests.
        interpreters: Fresh interpreters per import.
    """

    rounds: int
    seconds: float
    connections: int
    burst: int
    workers: tuple[int, ...]
    links: int
    hours: int
    interpreters: int


EFFORTS = {
    "full": Effort(
        rounds=11,
        seconds=1.5,
        connections=32,
        burst=1000,
        workers=(1, 2, 4, 8),
        links=1_000_000,
        hours=240,
        interpreters=9,
    ),
    "quick": Effort(
        rounds=4,
        seconds=0.5,
        connections=32,
        burst=1000,
        workers=(1, 2, 4, 8),
        links=200_000,
        hours=24,
        interpreters=3,
    ),
    "smoke": Effort(
        rounds=1,
        seconds=0.05,
        connections=4,
        burst=20,
        workers=(1, 2),
        links=2000,
        hours=3,
        interpreters=1,
    ),
}
