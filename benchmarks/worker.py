"""A server process: ``python -m benchmarks.worker <module:factory> <descriptor of a listening socket>``."""

from __future__ import annotations

import socket
import sys

import uvicorn

BACKLOG = 4096  # more than the connections of any stampede

if __name__ == "__main__":
    app, descriptor = sys.argv[1:]
    config = uvicorn.Config(
        f"benchmarks.{app}",
        factory=True,
        ws="none",
        access_log=False,
        log_level="warning",
        backlog=BACKLOG,
        timeout_keep_alive=3600,  # no pooled connection to the fake Kombo ends between two rounds
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(descriptor))])
