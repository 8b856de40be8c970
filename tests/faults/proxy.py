"""A TCP proxy that injects faults between the app and Kombo, Redis or PostgreSQL."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

Fault = Literal["none", "slow", "silent", "refuse", "reset"]
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST and drops what is not sent


class FaultProxy:
    """Passes bytes between its clients and a peer, as long as there is no fault.

    ``slow`` delays each answer by ``delay_seconds``. ``silent`` takes bytes and passes none on, in either
    direction. ``refuse`` resets each new connection at once. ``reset`` passes ``reset_after_bytes`` of the
    next answer, then resets the connection.
    """

    def __init__(self, target: tuple[str, int] | Path) -> None:
        self._target = target
        self._fault: Fault = "none"
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.delay_seconds = 0.0
        self.reset_after_bytes = 1
        self.connections = 0
        self.port = 0

    @property
    def open_connections(self) -> int:
        """Return how many clients are connected."""
        return len(self._tasks)

    def inject(self, fault: Fault) -> None:
        """Inject a fault from now on, into open connections too; ``none`` ends it."""
        self._fault = fault

    def cut(self) -> None:
        """Reset all open connections."""
        for writer in list(self._writers):
            _reset(writer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._fault == "refuse":
            _reset(writer)
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._connect_and_pass(reader, writer)
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def aclose(self) -> None:
        """Reset all connections."""
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the next round of the loop

    async def _connect_and_pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(self._target, Path):
            far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        else:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        ways = [
            asyncio.create_task(self._pass(reader, far_writer, is_answer=False)),
            asyncio.create_task(self._pass(far_reader, writer, is_answer=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far_writer.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(65536):
                if self._fault == "silent":
                    continue
                if self._fault == "reset" and is_answer:
                    self._fault = "none"
                    writer.write(chunk[: self.reset_after_bytes])
                    await writer.drain()
                    await asyncio.sleep(0.01)  # or the reset overtakes what was written
                    _reset(writer)
                    return
                if self._fault == "slow" and is_answer:
                    await asyncio.sleep(self.delay_seconds)
                writer.write(chunk)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()


@asynccontextmanager
async def fault_proxy(target: tuple[str, int] | Path) -> AsyncIterator[FaultProxy]:
    """Run a proxy on a free port of this machine."""
    proxy = FaultProxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.aclose()
