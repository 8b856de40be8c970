"""Faults of the network to Kombo, over real sockets: the browser's response, and what is left afterwards."""

from __future__ import annotations

import asyncio
import gc
import gzip
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
import stamina
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kombo_embed.sandbox import Sandbox
from tests.faults.machine import held, resident_bytes
from tests.faults.proxy import fault_proxy
from tests.faults.sizes import size
from tests.support import ManualClock, eventually, free_port, make_host, person, running, served

pytestmark = pytest.mark.integration

HANGS = size(small=40, full=1000)
AT_ONCE = 40
CROWD = 600  # many more than there are connections to Kombo
CROWD_SLACK_SECONDS = 5.0  # 600 responses take some of it, on a busy machine; in httpcore's queue it was 10
DEADLINE_SECONDS = size(small=1, full=10)
SLACK_SECONDS = 1.0  # of a busy machine
ENDLESS = size(small=3, full=20)
MEGABYTE = 1024 * 1024
UNLIMITED = "100000/second"
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Record = Callable[[str, object], None]


@pytest.fixture(autouse=True)
def retry_as_in_production() -> None:
    stamina.set_testing(testing=False)


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[int]:
    """Serve bytes on a free port; yield it."""
    tasks: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await answer(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in filter(None, tasks):
            task.cancel()
        await asyncio.gather(*filter(None, tasks), return_exceptions=True)


class Stopwatch:
    """Measures how long an app takes for a response: without the client, which shares the event loop."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.slowest = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrived_at = asyncio.get_running_loop().time()

        async def send_measured(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.slowest = max(self.slowest, asyncio.get_running_loop().time() - arrived_at)
            await send(message)

        await self._app(scope, receive, send_measured)


async def request_link(client: httpx.AsyncClient, name: str) -> tuple[httpx.Response, float]:
    """Request a link; return the response and the seconds it took."""
    started_at = asyncio.get_running_loop().time()
    response = await client.post("/kombo/links", headers=person(name), json={})
    return response, asyncio.get_running_loop().time() - started_at


async def test_a_kombo_that_never_answers_costs_the_deadline_and_leaves_nothing_behind(
    sandbox: Sandbox, record_property: Record
) -> None:
    clock = ManualClock()
    async with (
        served(sandbox.app) as kombo_url,
        fault_proxy(("localhost", int(kombo_url.rpartition(":")[2]))) as proxy,
    ):
        app, _ = make_host(
            None,
            clock=clock,
            api_url=f"http://127.0.0.1:{proxy.port}/v1",
            timeout=DEADLINE_SECONDS,
            link_rate=UNLIMITED,
        )
        async with running(stopwatch := Stopwatch(app)) as client:
            assert (await request_link(client, "first@acme"))[0].status_code == 200
            before = held()
            gc.freeze()  # what pytest has loaded: to search all of it takes 0.1 s and more
            for start in range(0, HANGS, AT_ONCE):
                proxy.inject("silent")
                names = [f"p{number}@acme" for number in range(start, start + AT_ONCE)]
                answers = await asyncio.gather(*(request_link(client, name) for name in names))
                assert {response.status_code for response, _ in answers} == {504}
                assert {response.json()["code"] for response, _ in answers} == {"kombo_timeout"}
                proxy.inject("none")
                clock.advance(60)  # the circuit lets calls pass again
                assert (await request_link(client, f"again-{start}@acme"))[0].status_code == 200
            await eventually(lambda: proxy.open_connections <= 1)
            leaked = max(0, held().descriptors - before.descriptors)
            assert held().tasks <= before.tasks + 2  # those of the proxy's one connection
    gc.unfreeze()
    late = stopwatch.slowest - DEADLINE_SECONDS
    assert late <= SLACK_SECONDS
    assert leaked <= 2
    record_property("figure", f"{HANGS:,} hangs: slowest {late:+.3f} s beyond the deadline, 0 leaked")


async def never(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_a_crowd_that_waits_for_a_kombo_that_never_answers_costs_the_deadline_too(
    record_property: Record,
) -> None:
    async with answering(never) as port:
        app, _ = make_host(None, api_url=f"http://127.0.0.1:{port}/v1", timeout=1, link_rate=UNLIMITED)
        async with running(stopwatch := Stopwatch(app)) as client:
            answers = await asyncio.gather(*(request_link(client, f"p{n}@acme") for n in range(CROWD)))
    assert {response.status_code for response, _ in answers} == {504}
    late = stopwatch.slowest - 1
    assert late <= CROWD_SLACK_SECONDS
    record_property("figure", f"{CROWD} at once: slowest {late:+.3f} s beyond the deadline")


async def test_a_kombo_that_cannot_be_reached_is_tried_three_times_within_the_deadline(
    record_property: Record,
) -> None:
    attempts, slowest = 0, 0.0

    async def no_tls(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with answering(no_tls) as port, fault_proxy(("127.0.0.1", port)) as refusing:
        refusing.inject("refuse")
        unreachable = {
            "refused": f"http://127.0.0.1:{free_port()}/v1",
            "unknown host": "https://kombo.invalid/v1",
            "no TLS": f"https://127.0.0.1:{port}/v1",
            "reset": f"http://127.0.0.1:{refusing.port}/v1",
        }
        for name, url in unreachable.items():
            app, _ = make_host(None, api_url=url)
            async with running(app) as client:
                response, seconds = await request_link(client, "ada@acme")
            assert (response.status_code, response.json()["code"]) == (503, "kombo_unavailable"), name
            assert int(response.headers["retry-after"]) >= 1
            slowest = max(slowest, seconds)
        assert attempts == 3
        assert refusing.connections == 3
    assert slowest < 10
    record_property("figure", f"3 attempts each, {slowest:.2f} s at most")


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"{")
        await writer.drain()
        await asyncio.sleep(0.2)


async def a_gigabyte(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
    for _ in range(1024):
        writer.write(b" " * MEGABYTE)
        await writer.drain()


async def a_gzip_bomb(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(BOMB), BOMB)
    )
    await writer.drain()


BOMB = gzip.compress(b" " * 64 * MEGABYTE)
ENDLESS_BODIES: dict[Answer, tuple[int, str]] = {
    drip: (504, "kombo_timeout"),
    a_gigabyte: (502, "kombo_invalid_response"),
    a_gzip_bomb: (502, "kombo_invalid_response"),
}


@pytest.mark.parametrize("answer", ENDLESS_BODIES)
async def test_a_body_without_end_is_left_by_size_or_deadline(
    answer: Answer, record_property: Record
) -> None:
    grown, clock = 0, ManualClock()
    async with answering(answer) as port:
        app, _ = make_host(
            None,
            clock=clock,
            api_url=f"http://127.0.0.1:{port}/v1",
            timeout=1 if answer is drip else 10,
            link_rate=UNLIMITED,
        )
        async with running(app) as client:
            before = 0
            for number in range(ENDLESS):
                response, seconds = await request_link(client, f"p{number}@acme")
                assert (response.status_code, response.json()["code"]) == ENDLESS_BODIES[answer]
                assert seconds < (1 + SLACK_SECONDS if answer is drip else 10)
                before = before or resident_bytes(os.getpid())
                clock.advance(60)  # the circuit lets a probe pass again
            grown = resident_bytes(os.getpid()) - before
    assert grown < 5 * MEGABYTE
    record_property("figure", f"{answer.__name__} {ENDLESS} times: memory {grown / MEGABYTE:+.1f} MB")


async def test_a_redirect_takes_no_request_and_no_key_to_another_host(record_property: Record) -> None:
    requests = 0

    async def other(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        requests += 1

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        status = waiting.pop()
        writer.write(
            b"HTTP/1.1 %d Moved\r\nLocation: http://127.0.0.1:%d/v1\r\nContent-Length: 0\r\n\r\n"
            % (status, other_port)
        )
        await writer.drain()

    redirects = [301, 302, 303, 307, 308]
    waiting = list(redirects)
    async with answering(other) as other_port, answering(redirect) as port:
        app, _ = make_host(None, api_url=f"http://127.0.0.1:{port}/v1")
        async with running(app) as client:
            for _ in redirects:
                response, _ = await request_link(client, "ada@acme")
                assert (response.status_code, response.json()["code"]) == (502, "kombo_invalid_response")
    assert (requests, waiting) == (0, [])
    record_property("figure", f"{len(redirects)} kinds of redirect: 0 requests at the other host")
