"""Runs ASGI apps on ports of this machine, several in one process, until Ctrl-C.

For the commands of this package alone: your own app runs under the server of your choice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import uvicorn
from starlette.types import ASGIApp

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
GRACE = 2  # seconds that requests under way have when it ends


def serve(apps: Mapping[int, ASGIApp], *, ready: Callable[[], None]) -> int:
    """Serve each app on its port of ``localhost`` until SIGINT or SIGTERM.

    Args:
        apps: The ASGI app of each port.
        ready: Called once, when all of them answer.

    Returns:
        The exit code: 0 when it was ended, 1 when it could not start; the reason is on stderr then.
    """
    with ExitStack() as stack:
        sockets: dict[int, list[socket.socket]] = {}
        for port in apps:
            try:
                sockets[port] = [stack.enter_context(bound) for bound in _bind(port)]
            except OSError as error:
                reason = os.strerror(error.errno or 0)
                sys.stderr.write(f"Port {port} cannot be used: {reason}. Choose another one, see --help.\n")
                return 1
        servers = [(_Server(_config(app)), sockets[port]) for port, app in apps.items()]
        return asyncio.run(_serve_all(servers, ready))


def _config(app: ASGIApp) -> uvicorn.Config:
    # No access log: the Connect page's address is a credential.
    return uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE, server_header=False
    )


def _bind(port: int) -> Iterator[socket.socket]:
    """Sockets for what ``localhost`` may mean to a browser: IPv4, and IPv6 where the machine has it."""
    yield socket.create_server((LOOPBACK[socket.AF_INET], port), backlog=128)
    with contextlib.suppress(OSError):
        yield socket.create_server((LOOPBACK[socket.AF_INET6], port), family=socket.AF_INET6, backlog=128)


class _Server(uvicorn.Server):
    """A uvicorn server that tells when it answers and leaves the signals to us."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answering = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.answering.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve_all(
    servers: Sequence[tuple[_Server, list[socket.socket]]], ready: Callable[[], None]
) -> int:
    def stop() -> None:
        for server, _ in servers:
            # A second Ctrl-C does not wait for anybody.
            server.force_exit = server.should_exit
            server.should_exit = True

    with _signals(stop):
        serving = [asyncio.create_task(server.serve(bound)) for server, bound in servers]
        answering = asyncio.create_task(_all_answer(servers))
        await asyncio.wait([*serving, answering], return_when=asyncio.FIRST_COMPLETED)
        started = answering.done()
        if started:
            ready()
            await asyncio.wait(serving, return_when=asyncio.FIRST_COMPLETED)
        answering.cancel()
        for server, _ in servers:
            server.should_exit = True
        await asyncio.gather(*serving)
    return 0 if started else 1


async def _all_answer(servers: Sequence[tuple[_Server, list[socket.socket]]]) -> None:
    for server, _ in servers:
        await server.answering.wait()


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    before = {
        number: signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
