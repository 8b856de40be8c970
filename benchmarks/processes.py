"""The processes around the benchmarks: apps under uvicorn, Redis, fresh interpreters. Linux only.

``python -m benchmarks.processes <module:factory> <descriptor of a listening socket>`` is one server.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib.util
import itertools
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

ROOT = Path(__file__).parent.parent
LOOPBACK = "127.0.0.1"
MEMORY_DISK = Path("/dev/shm")  # noqa: S108 - a mount point; folders in it get random names
START_SECONDS, RUN_SECONDS, STOP_SECONDS = 60, 300, 15
CORES = sorted(os.sched_getaffinity(0))
BACKLOG = 4096  # more than the connections of any stampede
LOADER_CORE, SERVER_CORES = CORES[-1:], CORES[:-1] or CORES
_numbers = itertools.count()


class ProcessFailed(Exception):
    """A process did not start, or failed. The message holds the end of its log."""


class NotInstalled(Exception):
    """A program that a measurement needs is not installed."""


@dataclass(frozen=True, slots=True)
class Server:
    """One app under uvicorn, in a process of its own."""

    port: int
    process: Process
    cpu_clock: int

    @classmethod
    async def start(cls, app: str, *, folder: Path, environment: Mapping[str, str]) -> Server:
        """Start an app on a free port, and return once it answers."""
        log = folder / f"{app.replace(':', '-')}-{next(_numbers)}.log"
        with socket.create_server((LOOPBACK, 0), backlog=BACKLOG) as listening, log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks.processes", app, str(listening.fileno())),
                cwd=folder,
                env=_environment(environment),
                stderr=errors,
                pass_fds=[listening.fileno()],
            )
            port = listening.getsockname()[1]
        clock = ctypes.c_int()
        ctypes.CDLL(None).clock_getcpuclockid(process.pid, ctypes.byref(clock))
        server = cls(port, process, clock.value)
        pin(process.pid, CORES)
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=START_SECONDS) as client:
                await client.get(f"http://{LOOPBACK}:{port}/calls/none")
        except httpx.HTTPError:
            await stop(process)
            raise ProcessFailed(f"{app} did not start:\n{log.read_text()[-3000:]}") from None
        # Only now, so that many servers can start on all cores.
        pin(process.pid, LOADER_CORE if app == "apps:upstream" else SERVER_CORES)
        return server

    def cpu_seconds(self) -> float:
        """Return the CPU time that the process has used, its ended threads included."""
        return time.clock_gettime(self.cpu_clock)


@asynccontextmanager
async def running_redis() -> AsyncIterator[str]:
    """Run a Redis without persistence on a free port; yield its URL."""
    if shutil.which("redis-server") is None:
        raise NotInstalled("redis-server")
    with socket.create_server((LOOPBACK, 0)) as free:
        port = str(free.getsockname()[1])
    options = ("--bind", LOOPBACK, "--port", port, "--save", "", "--appendonly", "no")
    server = await asyncio.create_subprocess_exec("redis-server", *options, stdout=PIPE)
    try:
        assert server.stdout is not None  # noqa: S101 - it is a pipe
        await server.stdout.readuntil(b"Ready to accept connections")
        yield f"redis://{LOOPBACK}:{port}/0"
    finally:
        await stop(server)


def run_python(*arguments: str) -> Any:  # noqa: ANN401 - JSON
    """Run a fresh interpreter, and return what it prints, as JSON."""
    command, environment = [sys.executable, *arguments], _environment({})
    run = subprocess.run(command, env=environment, capture_output=True, timeout=RUN_SECONDS, check=False)
    if run.returncode:
        raise ProcessFailed(f"python {arguments} failed:\n{run.stderr.decode()[-3000:]}")
    return json.loads(run.stdout)


def describe_machine() -> dict[str, object]:
    """Return what the figures depend on, without the machine's name."""
    return {
        "cores": len(CORES),
        "system": f"{platform.system()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "fast_http": all(map(importlib.util.find_spec, ("uvloop", "httptools"))),
        "databases_on": "memory" if MEMORY_DISK.is_dir() else "disk",
        "load_before": round(os.getloadavg()[0], 2),
    }


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for databases, in memory if possible: no figure then depends on fsync."""
    parent = MEMORY_DISK if MEMORY_DISK.is_dir() else None
    return tempfile.TemporaryDirectory(prefix="kombo-embed-bench-", dir=parent)


def pin(pid: int, cores: list[int]) -> None:
    """Restrict all threads of a process to these cores; new threads inherit them."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("KOMBO_")}
    return {**kept, "PYTHONPATH": str(ROOT), **given}


async def stop(process: Process) -> None:
    """Terminate a process; kill it if it does not end."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


if __name__ == "__main__":
    _config = uvicorn.Config(
        f"benchmarks.{sys.argv[1]}",
        factory=True,
        ws="none",
        access_log=False,
        log_level="warning",
        backlog=BACKLOG,
        timeout_keep_alive=3600,  # no pooled connection to the fake Kombo ends between two rounds
    )
    uvicorn.Server(_config).run(sockets=[socket.socket(fileno=int(sys.argv[2]))])
