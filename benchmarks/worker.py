"""A server process: one of the apps under uvicorn, as ``uvicorn[standard]`` runs it.

Usage: ``python -m benchmarks.worker <app> <file descriptor of a listening socket>``. It prints ``ready``;
each line on stdin is answered with what the process has used so far; the end of stdin ends it.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import threading
import time

import uvicorn

from benchmarks import machine

BACKLOG = 4096  # more than any stampede has connections
KEEP_ALIVE = 3600  # seconds: no peer's pooled connection to the fake Kombo ends between two rounds


class AnnouncedServer(uvicorn.Server):
    """Says on stdout when it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        # Now, so that many can start on all cores. What only answers the servers is out of their way.
        if os.environ.get("BENCH_BESIDE_THE_LOADER"):
            machine.pin_loader()
        else:
            machine.pin_servers()
        if self.started:
            print("ready", flush=True)


def main() -> None:
    """Serve until stdin ends."""
    name, descriptor = sys.argv[1:]
    app = importlib.import_module(f"benchmarks.apps.{name}").create_app()
    config = uvicorn.Config(
        app,
        ws="none",
        access_log=False,
        log_level="warning",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
    )
    server = AnnouncedServer(config)
    threading.Thread(target=_obey, args=(server,), daemon=True).start()
    server.run(sockets=[socket.socket(fileno=int(descriptor))])


def _obey(server: uvicorn.Server) -> None:
    for _ in sys.stdin:
        used = {"cpu": time.process_time(), "resident": machine.resident_bytes()}
        print(json.dumps(used), flush=True)
    server.should_exit = True


if __name__ == "__main__":
    main()
