"""Several uvicorn servers in one event loop, ended together by Ctrl-C or SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Generator, Sequence

import uvicorn
from starlette.types import ASGIApp

GRACE = 1  # seconds that requests under way get when it ends


class Server(uvicorn.Server):
    """A server that leaves signals to others, and that can be waited for.

    Args:
        app: The ASGI app; no lifespan is run.
        sockets: Where it listens.
    """

    def __init__(self, app: ASGIApp, sockets: Sequence[socket.socket]) -> None:
        config = uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            access_log=False,  # its lines would hold link tokens
            log_config=None,
            log_level="warning",
            timeout_graceful_shutdown=GRACE,
        )
        super().__init__(config)
        self._sockets = list(sockets)
        self.started_or_failed = asyncio.Event()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until ``should_exit``."""
        await super().serve(sockets or self._sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        try:
            await super().startup(sockets)
        finally:
            self.started_or_failed.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none: each server would take them from the one before."""
        yield


def stop_at_signals() -> asyncio.Event:
    """Give an event that Ctrl-C, SIGTERM and a closed terminal set, however often, while this loop lives."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # On Windows a loop takes no handlers; there, asyncio.run turns Ctrl-C into a cancellation.
    with contextlib.suppress(NotImplementedError):
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                loop.add_signal_handler(getattr(signal, name), stop.set)
    return stop


async def serve_until(stop: asyncio.Event, servers: Sequence[Server], announce: Callable[[], None]) -> None:
    """Serve, call ``announce`` when all servers listen, and end all of them at ``stop`` or when one ends."""
    running = [asyncio.create_task(server.serve()) for server in servers]
    for task in running:
        task.add_done_callback(lambda _: stop.set())
    try:
        for server in servers:
            await server.started_or_failed.wait()
        if not stop.is_set():
            announce()
        await stop.wait()
    finally:
        # What is cut off at the end is no news to somebody who just pressed Ctrl-C.
        for name in ("uvicorn.error", "kombo_embed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*running)
