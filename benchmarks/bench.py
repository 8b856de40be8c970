"""What all measurements share: the fake Kombo, the servers, and rounds in which all sides run."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal, Self

import httpx
from joserfc.jwk import KeySet

from benchmarks import processes
from benchmarks.loader import Load, run_load
from benchmarks.processes import LOOPBACK, Server
from benchmarks.report import Bound, Line, ratios
from benchmarks.requests import API_KEY, AUDIENCE, ISSUER, WEBHOOK_SECRET, issuer_key

UNLIMITED = "999999/second"  # rate limits are not what is measured
SETTLE_SECONDS = 0.05  # work after the last answer belongs to the round, too


class WrongAnswers(Exception):
    """A server did not answer as expected, so its speed has no meaning."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long, how often and how many."""

    rounds: int
    seconds: float  # of one side in one round
    events: int  # webhooks or completions of one side in one round
    connections: int = 32
    burst: int = 1000  # requests of a stampede
    workers: tuple[int, ...] = (1, 2, 4, 8)  # processes of a stampede
    growth: int = 5000  # webhooks before those that must not cost more
    links: int = 100_000
    hours: int = 24  # simulated
    idle_seconds: float = 24
    deliveries: int = 2000


EFFORTS = {
    "full": Effort(rounds=11, seconds=1.5, events=400, hours=96),
    "quick": Effort(rounds=5, seconds=0.5, events=100),
    "smoke": Effort(
        rounds=1,
        seconds=0.05,
        events=8,
        connections=4,
        burst=20,
        workers=(1, 2),
        growth=20,
        links=2000,
        hours=3,
        idle_seconds=4,
        deliveries=50,
    ),
}


@dataclass(slots=True)
class Side:
    """One side of a ratio."""

    server: Server
    requests: Sequence[bytes] | Callable[[], Sequence[bytes]]  # of every round, or of the next one
    status: int = 200
    once: bool = False  # send each request once, instead of all over and over for a time
    rates: list[float] = field(default_factory=list)  # requests per second, of each round
    cpu: list[float] = field(default_factory=list)  # seconds per request


class Bench:
    """Starts the servers of the measurements, and stops all of them when the context exits."""

    def __init__(self, effort: Effort) -> None:
        self.effort = effort
        self.folder = Path()
        self._origin = ""
        self._stack = AsyncExitStack()
        self._kept: dict[tuple[object, ...], Server] = {}
        self._numbers = itertools.count()

    async def __aenter__(self) -> Self:
        self.folder = Path(self._stack.enter_context(processes.temporary_folder()))
        upstream = await self.server("apps:upstream")
        self._origin = f"http://{LOOPBACK}:{upstream.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def server(self, app: str, **environment: str) -> Server:
        """Return a server with these settings, started once."""
        key = (app, *sorted(environment.items()))
        if key not in self._kept:
            self._kept[key] = await self.start(self._stack, app, **environment)
        return self._kept[key]

    async def start(self, stack: AsyncExitStack, app: str, **environment: str) -> Server:
        """Start a server with these settings, stopped with the stack."""
        settings = {
            "BENCH_KEY_SET": json.dumps(KeySet([issuer_key()]).as_dict(private=False)),
            "KOMBO_API_KEY": API_KEY,
            "KOMBO_API_URL": self.upstream_url("any"),
            "KOMBO_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "KOMBO_DATABASE_URL": self.database_url(),
            "KOMBO_LINK_RATE": UNLIMITED,
            "KOMBO_COMPLETION_RATE": UNLIMITED,
            "KOMBO_JWKS_URL": f"{self._origin}/jwks",
            "KOMBO_OIDC_ISSUER": ISSUER,
            "KOMBO_OIDC_AUDIENCE": AUDIENCE,
            **environment,
        }
        server = await Server.start(app, folder=self.folder, environment=settings)
        stack.push_async_callback(processes.stop, server.process)
        return server

    def database_url(self) -> str:
        """Return the URL of a new SQLite database."""
        return f"sqlite+aiosqlite:///{self.folder}/{next(self._numbers)}.db"

    def upstream_url(self, run: str, *, delay_ms: int = 0) -> str:
        """Return the base URL of the fake Kombo for one run, which answers after a delay."""
        return f"{self._origin}/{run}/{delay_ms}/v1"

    async def upstream_calls(self, *runs: str) -> list[int]:
        """Return how often the fake Kombo was called in each run."""
        async with httpx.AsyncClient(base_url=self._origin, trust_env=False) as client:
            return [int((await client.get(f"/calls/{run}")).text) for run in runs]

    async def compare(self, *sides: Side, connections: int | None = None) -> None:
        """Run all sides in paired rounds, in alternating order."""
        connections = min(connections or self.effort.connections, self.effort.connections)
        for side in sides:
            await self._run(side, connections)  # to warm up
            side.rates, side.cpu = [], []
        for number in range(self.effort.rounds):
            for side in sides if number % 2 == 0 else reversed(sides):
                await self._run(side, connections)

    async def _run(self, side: Side, connections: int) -> None:
        requests = side.requests() if callable(side.requests) else side.requests
        before, seconds = side.server.cpu_seconds(), None if side.once else self.effort.seconds
        load = await run_load([side.server.port], requests, connections=connections, seconds=seconds)
        await asyncio.sleep(SETTLE_SECONDS)
        answers = verify(load, side.status)
        side.rates.append(answers / load.seconds)
        side.cpu.append((side.server.cpu_seconds() - before) / answers)


def verify(load: Load, status: int) -> int:
    """Return the number of answers, or raise `WrongAnswers`."""
    if load.failures(status):
        raise WrongAnswers(f"{dict(load.statuses)}, {load.lost} lost; expected {status}")
    return load.statuses.total()


def ratio(
    target: int, what: str, bound: Bound | None, one: Side, other: Side, *, by: Literal["rate", "cpu"] = "cpu"
) -> Line:
    """Return the first side's requests per second, or CPU per request, over the second side's."""
    rates, cpu = ratios(one.rates, other.rates), ratios(one.cpu, other.cpu)
    details: dict[str, object] = {
        "cpu_us": [median(side.cpu) * 1e6 for side in (one, other)],
        "per_second": [median(side.rates) for side in (one, other)],
    }
    measured, also = (rates, cpu) if by == "rate" else (cpu, None)
    return Line(target, what, bound, measured, cpu=also, details=details)
