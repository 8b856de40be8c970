"""Bodies of webhooks over raw sockets to a real server: their statuses, and the memory they cost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kombo_embed.kombo.webhooks import sign
from kombo_embed.sandbox import Sandbox
from tests.faults.machine import resident_bytes
from tests.faults.sizes import FULL, size
from tests.faults.workers import Server, descendants, environment, server
from tests.support import WEBHOOK_SECRET, served

pytestmark = pytest.mark.integration

MEGABYTE = 1024 * 1024
IN_FLIGHT = size(small=20, full=50)
ROUNDS = size(small=1, full=50)
HEAD = (
    b"POST /kombo/webhooks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    b"X-Kombo-Signature: %b\r\n%b\r\n\r\n"
)
GOOD = json.dumps({"id": "event-1", "type": "sync-finished", "data": {}}).encode()
Record = Callable[[str, object], None]


def request(body: bytes, *, length: int | None = None, chunked: bool = False) -> bytes:
    """Return the bytes of a signed webhook, whose length may be a lie, or not stated."""
    signature = sign(body, WEBHOOK_SECRET).encode()
    if chunked:
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:]) if part)
        return HEAD % (signature, b"Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n"
    stated = len(body) if length is None else length
    return HEAD % (signature, b"Content-Length: %d" % stated) + body


def event(number: str) -> bytes:
    """Return an event with a number, as JSON writes it."""
    return b'{"id": "event-2", "type": "sync-finished", "data": {"n": %b}}' % number.encode()


BODIES: dict[str, tuple[bytes, set[int]]] = {
    "2 kB": (request(GOOD + b" " * 2048), {204}),
    "1 MB": (request(GOOD + b" " * (MEGABYTE - len(GOOD))), {204}),
    "chunked": (request(GOOD, chunked=True), {204}),
    "empty": (request(b""), {422}),  # as {}, which lacks fields
    "not JSON": (request(b"<xml/>"), {422}),
    "invalid UTF-8": (request(b'{"id": "\xff"}'), {422}),
    "NaN": (request(event("NaN")), {422}),
    "10^400": (request(event("1" + "0" * 400)), {204}),
    "nested": (request(event("[" * 2000 + "]" * 2000)), {422}),
    "over 1 MB": (request(b"[" + b"0," * MEGABYTE + b"0]"), {413}),
    "over 1 MB, chunked": (request(b"[" + b"0," * MEGABYTE + b"0]", chunked=True), {413}),
    "states less": (request(GOOD, length=len(GOOD) - 3), {400, 401}),
    "states 1 GB": (request(GOOD, length=1 << 30), {413}),
    "wrong signature": (request(GOOD).replace(b"Signature: ", b"Signature: x"), {401}),
}


async def send(server: Server, content: bytes) -> int:
    """Send bytes; return the status of the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(content)
        async with asyncio.timeout(60):
            line = await reader.readline()
    finally:
        writer.transport.abort()
    return int(line.split()[1])


def memory(server: Server) -> int:
    return sum(resident_bytes(pid) for pid in descendants(server.process.pid))


async def test_every_kind_of_body_has_its_status_and_memory_stays_bounded(
    sandbox: Sandbox, tmp_path: Path, record_property: Record
) -> None:
    async with (
        served(sandbox.app) as kombo_url,
        server(tmp_path, environment(kombo_url)) as host,
    ):
        for name, (content, statuses) in BODIES.items():
            assert await send(host, content) in statuses, name
        before, most = memory(host), 0
        largest = request(GOOD + b" " * (MEGABYTE - len(GOOD)))
        for _ in range(ROUNDS):
            responses = asyncio.gather(*(send(host, largest) for _ in range(IN_FLIGHT)))
            while not responses.done():
                most = max(most, memory(host))
                await asyncio.sleep(0.005)
            assert set(await responses) <= {204, 503}
        grown = max(0, most - before)
        lies = await asyncio.gather(*(send(host, BODIES["over 1 MB"][0]) for _ in range(IN_FLIGHT)))
        assert set(lies) == {413}
    assert grown < 2 * MEGABYTE * IN_FLIGHT
    per_body = grown / MEGABYTE / IN_FLIGHT
    record_property("figure", f"{len(BODIES)} kinds: no 5xx; {per_body:.1f} MB per body of 1 MB in flight")


async def test_an_honest_webhook_is_answered_while_slow_ones_are_read(
    sandbox: Sandbox, tmp_path: Path, record_property: Record
) -> None:
    async with (
        served(sandbox.app) as kombo_url,
        server(tmp_path, environment(kombo_url)) as host,
    ):
        slow = [await asyncio.open_connection("127.0.0.1", host.port) for _ in range(IN_FLIGHT)]
        for _, writer in slow:
            writer.write(request(GOOD, length=1000)[:-5])
        started = asyncio.get_running_loop().time()
        assert await send(host, request(GOOD)) == 204
        seconds = asyncio.get_running_loop().time() - started
        assert seconds < 5
        if FULL:  # the deadline of a body is 30 s
            async with asyncio.timeout(45):
                lines = [await reader.readline() for reader, _ in slow]
            assert {int(line.split()[1]) for line in lines} == {408}
        for _, writer in slow:
            writer.transport.abort()
    record_property("figure", f"{seconds * 1000:.0f} ms beside {IN_FLIGHT} slow bodies")
