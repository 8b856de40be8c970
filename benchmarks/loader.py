"""The process that loads the servers: raw protocols that write prepared bytes and look for an answer's end.

Usage: ``python -m benchmarks.loader``; each line on stdin orders a run, each line on stdout tells of one.
Every connection is kept alive and has one request on the way at a time: nothing is pipelined.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import uvicorn

from benchmarks import machine
from benchmarks.processes import LOOPBACK

WITHOUT_BODY = {204, 304}
CONNECTING_AT_ONCE = 100
BURST_DEADLINE = 60  # seconds; who has no answer then counts as lost


class Run:
    """What the connections of one run share: whether to go on, and what came back."""

    def __init__(self, requests: Sequence[bytes]) -> None:
        self.requests: Iterator[bytes] = itertools.cycle(requests)
        self.going_on = True
        self.times: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.lost = 0
        self.busy = 0
        self.finished = asyncio.Event()

    def leave(self) -> None:
        """One connection less at work; the last one ends the run."""
        self.busy -= 1
        if self.busy == 0:
            self.finished.set()


class Connection(asyncio.Protocol):
    """One connection, with one request on the way at a time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._transport: asyncio.WriteTransport | None = None
        self._received = b""
        self._sent_at = 0.0
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready to send."""
        self._transport = transport  # type: ignore[assignment]  # a TCP transport can write

    def send(self) -> None:
        """Send the next request."""
        assert self._transport is not None  # noqa: S101 - called when connected
        if self._transport.is_closing():
            self.connection_lost(None)
            return
        self._waiting = True
        self._sent_at = time.perf_counter()
        self._transport.write(next(self._run.requests))

    def data_received(self, data: bytes) -> None:
        """Count a whole answer, and send the next request unless the run is over."""
        received = self._received + data if self._received else data
        status = whole_answer(received)
        if status is None:
            self._received = received
            return
        run = self._run
        run.times.append(time.perf_counter() - self._sent_at)
        run.statuses[status] += 1
        self._received, self._waiting = b"", False
        if run.going_on:
            self.send()
        else:
            run.leave()

    def connection_lost(self, exc: Exception | None) -> None:
        """The server hung up: a request on its way is lost."""
        del exc
        if self._waiting:
            self._waiting = False
            self._run.lost += 1
            self._run.leave()

    def close(self) -> None:
        """Hang up."""
        self._waiting = False
        if self._transport is not None:
            self._transport.close()


def whole_answer(received: bytes) -> int | None:
    """The status of the answer, once all of it is there."""
    head_end = received.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    status = int(received[9:12])
    if status in WITHOUT_BODY:
        return status
    start = received.find(b"content-length: ", 0, head_end)
    if start < 0:
        raise ValueError("the answer does not say how long it is")
    length = int(received[start + 16 : received.find(b"\r\n", start)])
    return status if len(received) >= head_end + 4 + length else None


async def load(
    ports: Sequence[int], requests: Sequence[bytes], *, connections: int, seconds: float | None
) -> dict[str, Any]:
    """Load these ports for a while; with no time given, each connection sends one request, all at once."""
    run = Run(requests)
    opened = await _connect(run, ports, connections)
    began, cpu_before = time.perf_counter(), time.process_time()
    run.busy = len(opened)
    if seconds is None:
        run.going_on = False
    else:
        asyncio.get_running_loop().call_later(seconds, setattr, run, "going_on", False)  # noqa: FBT003 - setattr takes no names
    for connection in opened:
        connection.send()
    try:
        async with asyncio.timeout((seconds or 0) + BURST_DEADLINE):
            await run.finished.wait()
    except TimeoutError:
        run.lost += run.busy
    told = _tell(run, time.perf_counter() - began, time.process_time() - cpu_before)
    for connection in opened:
        connection.close()
    return told


async def _connect(run: Run, ports: Sequence[int], connections: int) -> list[Connection]:
    loop = asyncio.get_running_loop()
    opened: list[Connection] = []
    chosen = itertools.islice(itertools.cycle(ports), connections)
    while batch := list(itertools.islice(chosen, CONNECTING_AT_ONCE)):
        made = [loop.create_connection(lambda: Connection(run), LOOPBACK, port) for port in batch]
        opened += [connection for _, connection in await asyncio.gather(*made)]
    return opened


def _tell(run: Run, seconds: float, cpu: float) -> dict[str, Any]:
    times = sorted(run.times) or [float("nan")]
    return {
        "answers": len(run.times),
        "seconds": seconds,
        "statuses": dict(run.statuses),
        "lost": run.lost,
        "middle": statistics.median(times),
        "p99": times[min(len(times) - 1, int(len(times) * 0.99))],
        "slowest": times[-1],
        "loader_busy": cpu / seconds,
    }


async def _obey(order: dict[str, Any]) -> dict[str, Any]:
    requests = [base64.b64decode(request) for request in order["requests"]]
    return await load(
        order["ports"], requests, connections=order["connections"], seconds=order.get("seconds")
    )


def main() -> None:
    """Run what is ordered until stdin ends."""
    machine.pin_loader()
    # The event loop that uvicorn would choose, so that the loader is as fast as what it loads.
    factory = uvicorn.Config(app="").get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        for line in sys.stdin:
            print(json.dumps(runner.run(_obey(json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
