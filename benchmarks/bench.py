"""What all measurements share: the fake Kombo, the loader, and the apps, each started once."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx

from benchmarks import machine
from benchmarks.effort import Effort
from benchmarks.people import SESSION_SECRET
from benchmarks.processes import LOOPBACK, Child, Worker

API_KEY = "ks_dev_a-made-up-key"
LINK_RATE = "999999/second"  # what is measured is not the refusal
WEBHOOK_SECRET = "whsec_made-up"  # noqa: S105 - it protects nothing


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of the loader saw: seconds, and counts."""

    answers: int
    seconds: float
    statuses: dict[str, int]
    lost: int
    middle: float
    p99: float
    slowest: float
    loader_busy: float

    def failures(self, expected: int) -> int:
        """How many answers had another status, or never came."""
        return self.answers + self.lost - self.statuses.get(str(expected), 0)


class Bench:
    """Starts what a measurement asks for, and ends all of it when the context ends."""

    def __init__(self, effort: Effort) -> None:
        self.effort = effort
        self._stack = AsyncExitStack()
        self._kept: dict[tuple[object, ...], Worker] = {}
        self._numbers = itertools.count()
        self._upstream: Worker | None = None
        self._loader: Child | None = None

    async def __aenter__(self) -> Self:
        self.folder = Path(self._stack.enter_context(machine.folder_without_fsync()))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def workers(self, *names: str) -> list[Worker]:
        """These apps, each started once and then kept, started side by side."""
        return await asyncio.gather(*map(self.worker, names))

    async def worker(self, name: str, **environment: str) -> Worker:
        """An app with these settings, started once and then kept."""
        key = (name, *sorted(environment.items()))
        if key not in self._kept:
            self._kept[key] = await self.start(self._stack, name, **environment)
        return self._kept[key]

    async def start(self, stack: AsyncExitStack, name: str, **environment: str) -> Worker:
        """Start an app, ended with the stack. What kombo-embed needs is set where nothing else is said."""
        settings = {
            "KOMBO_API_KEY": API_KEY,
            "KOMBO_API_URL": await self.upstream_url("any"),
            "KOMBO_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "KOMBO_DATABASE_URL": self.database_url(),
            "BENCH_SESSION_SECRET": SESSION_SECRET,
            "KOMBO_LINK_RATE": LINK_RATE,
            **environment,
        }
        worker = await Worker.start(name, folder=self.folder, environment=settings)
        stack.push_async_callback(worker.child.stop)
        return worker

    def database_url(self) -> str:
        """A new database."""
        return f"sqlite+aiosqlite:///{self.folder}/{next(self._numbers)}.db"

    async def upstream_url(self, run: str, *, delay_ms: int = 0) -> str:
        """The base URL of the fake Kombo for one run, answering after a delay."""
        return f"{await self._upstream_origin()}/{run}/{delay_ms}/v1"

    async def calls(self, run: str) -> int:
        """How often the fake Kombo was called in a run."""
        async with httpx.AsyncClient(base_url=await self._upstream_origin(), trust_env=False) as client:
            return int((await client.get(f"/calls/{run}")).json()["calls"])

    async def publish(self, key_set: str) -> str:
        """Have the fake upstream serve an issuer's key set; its URL."""
        url = f"{await self._upstream_origin()}/{next(self._numbers)}/jwks.json"
        async with httpx.AsyncClient(trust_env=False) as client:
            (await client.put(url, content=key_set)).raise_for_status()
        return url

    async def load(
        self,
        ports: Sequence[int],
        requests: Sequence[bytes],
        *,
        connections: int,
        seconds: float | None = None,
    ) -> Load:
        """Have the loader load these ports; without a time, one request on each connection, all at once."""
        if self._loader is None:
            self._loader = await Child.start("benchmarks.loader", folder=self.folder, environment={})
            self._stack.push_async_callback(self._loader.stop)
        order = {
            "ports": list(ports),
            "requests": [base64.b64encode(request).decode() for request in requests],
            "connections": connections,
            "seconds": seconds,
        }
        return Load(**await self._loader.ask(order))

    async def _upstream_origin(self) -> str:
        if self._upstream is None:
            beside = {"BENCH_BESIDE_THE_LOADER": "1"}
            self._upstream = await Worker.start("upstream", folder=self.folder, environment=beside)
            self._stack.push_async_callback(self._upstream.child.stop)
        return f"http://{LOOPBACK}:{self._upstream.port}"
