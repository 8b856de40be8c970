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
from dataclasses import dataclass, field

DEADLINE_SECONDS = 120  # a request that is unanswered then counts as lost


@dataclass(slots=True)
class Load:
    """One run of the load, and what it saw."""

    requests: Iterator[bytes]
    ends_at: float = math.inf
    seconds: float = 0.0
    slowest_seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    active: int = 0  # connections
    finished: asyncio.Event = field(default_factory=asyncio.Event)

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
    status, start = int(received[9:12]), received.find(b"content-length: ", 0, head_end)
    length = 0 if start < 0 else int(received[start + 16 : received.index(b"\r\n", start)])
    return status if len(received) >= head_end + 4 + length else None


async def run_load(
    ports: Sequence[int], requests: Sequence[bytes], *, connections: int, seconds: float | None = None
) -> Load:
    """Send the requests over and over for some seconds; without a time, send each of them once."""
    load, loop = Load(itertools.cycle(requests) if seconds else iter(requests)), asyncio.get_running_loop()
    chosen = itertools.islice(itertools.cycle(ports), connections)
    opening = [loop.create_connection(lambda: Connection(load), "127.0.0.1", port) for port in chosen]
    opened = [connection for _, connection in await asyncio.gather(*opening)]
    load.active, started_at = len(opened), time.perf_counter()
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
