"""The load: raw protocols that write prepared bytes and look for the end of each answer.

Every connection is kept alive and has one request in flight at a time: nothing is pipelined.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from benchmarks.processes import LOOPBACK

WITHOUT_BODY = {204, 304}
CONNECT_AT_ONCE = 100
DEADLINE_SECONDS = 120  # a request that is unanswered then counts as lost


class Load:
    """One run of the load, and what it saw."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self.requests = requests
        self.ends_at = math.inf
        self.statuses: Counter[int] = Counter()
        self.lost = 0
        self.slowest_seconds = 0.0
        self.seconds = 0.0
        self.active = 0
        self.finished = asyncio.Event()

    def failures(self, status: int) -> int:
        """Return how many requests got another status, or no answer."""
        return self.statuses.total() + self.lost - self.statuses[status]

    def leave(self) -> None:
        """Count one connection as finished."""
        self.active -= 1
        if self.active == 0:
            self.finished.set()


class Connection(asyncio.Protocol):
    """One connection of a run."""

    transport: asyncio.Transport

    def __init__(self, load: Load) -> None:
        self._load = load
        self._received = b""
        self._sent_at: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]  # a TCP transport can write

    def send(self) -> None:
        """Send the next request, if there is one."""
        now = time.perf_counter()
        request = next(self._load.requests, None) if now < self._load.ends_at else None
        if request is None:
            self._load.leave()
            return
        self._sent_at = now
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Count a whole answer, and continue."""
        self._received += data
        status = parse_status(self._received)
        if status is None or self._sent_at is None:
            return
        load, seconds = self._load, time.perf_counter() - self._sent_at
        load.slowest_seconds = max(load.slowest_seconds, seconds)
        load.statuses[status] += 1
        self._received, self._sent_at = b"", None
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the request in flight as lost; this connection sends no more."""
        del exc
        if self._sent_at is not None:
            self._sent_at = None
            self._load.lost += 1
            self._load.leave()


def parse_status(received: bytes) -> int | None:
    """Return the status of an answer, or None until all of it is there."""
    head_end = received.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    status = int(received[9:12])
    if status in WITHOUT_BODY:
        return status
    start = received.index(b"content-length: ", 0, head_end) + 16
    length = int(received[start : received.index(b"\r\n", start)])
    return status if len(received) >= head_end + 4 + length else None


async def run_load(
    ports: Sequence[int], requests: Sequence[bytes], *, connections: int, seconds: float | None = None
) -> Load:
    """Send the requests over and over for some seconds; without a time, send each of them once."""
    load = Load(itertools.cycle(requests) if seconds else iter(requests))
    opened: list[Connection] = []
    chosen, loop = itertools.islice(itertools.cycle(ports), connections), asyncio.get_running_loop()
    while batch := list(itertools.islice(chosen, CONNECT_AT_ONCE)):
        pairs = [loop.create_connection(lambda: Connection(load), LOOPBACK, port) for port in batch]
        opened += [connection for _, connection in await asyncio.gather(*pairs)]
    load.active = len(opened)
    started_at = time.perf_counter()
    load.ends_at = started_at + (seconds or math.inf)
    for connection in opened:
        connection.send()
    try:
        async with asyncio.timeout((seconds or 0) + DEADLINE_SECONDS):
            await load.finished.wait()
    except TimeoutError:
        load.lost += load.active
    load.seconds = time.perf_counter() - started_at
    for connection in opened:
        connection.transport.close()
    return load
