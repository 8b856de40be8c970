"""A Redis of our own: on a free port, in memory, gone when the context ends."""

from __future__ import annotations

import asyncio
import shutil
import socket
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from benchmarks.processes import LOOPBACK, STOP_DEADLINE, ProcessFailed

START_DEADLINE = 10  # seconds
BETWEEN_LOOKS = 0.02  # seconds


def missing_for_redis() -> str:
    """What is missing to measure with Redis, in words for the table; nothing if it can be."""
    return "" if shutil.which("redis-server") else "redis-server is not installed"


@asynccontextmanager
async def running_redis(folder: Path) -> AsyncIterator[str]:
    """Start one, and give its URL.

    Raises:
        ProcessFailed: It does not come up.
    """
    with socket.create_server((LOOPBACK, 0)) as free:
        port = free.getsockname()[1]
    server = await asyncio.create_subprocess_exec(
        shutil.which("redis-server") or "redis-server",
        *("--bind", LOOPBACK, "--port", str(port), "--save", "", "--appendonly", "no", "--dir", str(folder)),
        stdout=DEVNULL,
    )
    try:
        await _wait_until_it_listens(port)
        yield f"redis://{LOOPBACK}:{port}/0"
    finally:
        with suppress(ProcessLookupError):
            server.terminate()
        async with asyncio.timeout(STOP_DEADLINE):
            await server.wait()


async def _wait_until_it_listens(port: int) -> None:
    try:
        async with asyncio.timeout(START_DEADLINE):
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection(LOOPBACK, port)
                    writer.close()
                    return
                await asyncio.sleep(BETWEEN_LOOKS)
    except TimeoutError:
        raise ProcessFailed("redis-server does not come up") from None
