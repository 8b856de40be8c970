"""Servers in processes of their own, for the tests of this folder."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.processes import serving
from tests.support import API_KEY, WEBHOOK_SECRET, free_port

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Server:
    """A uvicorn with this port."""

    process: asyncio.subprocess.Process
    port: int

    @property
    def url(self) -> str:
        """Return its base URL."""
        return f"http://127.0.0.1:{self.port}"


def environment(kombo_url: str, **more: str) -> dict[str, str]:
    """Return the variables of an app that calls this Kombo."""
    return {
        "PYTHONPATH": str(ROOT),
        "KOMBO_API_KEY": API_KEY,
        "KOMBO_API_URL": f"{kombo_url}/v1",
        "KOMBO_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "KOMBO_LINK_RATE": "100000/second",
        "KOMBO_COMPLETION_RATE": "100000/second",
        **more,
    }


@asynccontextmanager
async def server(folder: Path, environ: Mapping[str, str], *options: str) -> AsyncIterator[Server]:
    """Run uvicorn with tests/faults/host.py in a folder, until it has stopped or the context ends."""
    port = free_port()
    command = (sys.executable, "-m", "uvicorn", "tests.faults.host:app", "--port", str(port), *options)
    quiet = ("--log-level", "warning", "--no-access-log")
    # Longer than the browser keeps them, or a request can meet the end of its connection.
    connections = ("--timeout-keep-alive", "60")
    health = f"http://127.0.0.1:{port}/kombo/health"
    async with serving(*command, *quiet, *connections, url=health, environ=environ, cwd=folder) as process:
        yield Server(process, port)


def descendants(pid: int) -> list[int]:
    """Return a process and all below it."""
    file = Path(f"/proc/{pid}/task/{pid}/children")
    children = [int(child) for child in file.read_text(encoding="utf-8").split()] if file.exists() else []
    return [pid, *(below for child in children for below in descendants(child))]


@asynccontextmanager
async def browser(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client with many connections."""
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60, limits=limits) as client:
        yield client
