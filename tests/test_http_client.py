"""The bounds of every call to another service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from kombo_embed.http_client import (
    CONNECTIONS,
    HttpBodyRejected,
    HttpClient,
    HttpError,
    HttpResponse,
    HttpTimeout,
    HttpUnreachable,
)
from tests.fakes import HeldTransport, RecordingTransport, respond
from tests.support import LogRecorder

URL = "https://peer.example/path"
SECRET = "token-in-the-url"


class UnreadableStream(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""


def client(
    peer: httpx.AsyncBaseTransport | None, *, url: str = URL, timeout_seconds: float = 10
) -> HttpClient:
    return HttpClient(url=url, timeout_seconds=timeout_seconds, connect_timeout_seconds=3, transport=peer)


async def get(peer: httpx.MockTransport, *, timeout_seconds: float = 10) -> HttpResponse:
    http = client(peer, timeout_seconds=timeout_seconds)
    return await http.request("GET", f"{URL}?{SECRET}", deadline=http.deadline(), body_max_bytes=1000)


async def test_a_response_has_its_status_retry_after_and_body() -> None:
    peer = httpx.MockTransport(respond(503, headers={"Retry-After": "7"}, content=b"x" * 1000))
    assert await get(peer) == HttpResponse(503, "7", b"x" * 1000)


async def test_only_json_that_is_not_compressed_is_requested() -> None:
    recorded = RecordingTransport(httpx.MockTransport(respond()))
    http = client(recorded)
    await http.request("POST", URL, deadline=http.deadline(), body_max_bytes=1000, json={"a": 1})
    headers = recorded.requests[0].headers
    assert (headers["accept"], headers["accept-encoding"]) == ("application/json", "identity")
    assert recorded.bodies == [{"a": 1}]


async def test_a_redirect_is_not_followed() -> None:
    recorded = RecordingTransport(
        httpx.MockTransport(respond(307, headers={"Location": "https://evil.example/"}))
    )
    http = client(recorded)
    response = await http.request("GET", URL, deadline=http.deadline(), body_max_bytes=1000)
    assert (response.status, recorded.calls) == (307, ["GET /path"])


async def test_a_cookie_is_not_sent_with_the_next_call() -> None:
    recorded = RecordingTransport(httpx.MockTransport(respond(headers={"Set-Cookie": "a=1"})))
    http = client(recorded)
    for _ in range(2):
        await http.request("GET", URL, deadline=http.deadline(), body_max_bytes=1000)
    assert "cookie" not in recorded.requests[1].headers


async def test_a_body_without_end_is_cut_off() -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"x" * 1001
        raise AssertionError("read beyond the limit")

    with pytest.raises(HttpBodyRejected, match="longer than 1000 bytes") as caught:
        await get(httpx.MockTransport(respond(429, headers={"Retry-After": "7"}, content=endless())))
    assert caught.value.response == HttpResponse(429, "7")


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
async def test_a_compressed_body_is_not_read(encoding: str) -> None:
    headers = {"Content-Encoding": encoding}
    with pytest.raises(HttpBodyRejected, match="compressed"):
        await get(httpx.MockTransport(respond(headers=headers, stream=UnreadableStream())))


async def test_the_deadline_covers_a_body_that_arrives_too_slowly() -> None:
    async def drip() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    with pytest.raises(HttpTimeout):
        await get(httpx.MockTransport(respond(content=drip())), timeout_seconds=0.05)


async def test_several_calls_can_share_a_deadline() -> None:
    held = HeldTransport(httpx.MockTransport(respond()))
    http = client(held, timeout_seconds=0.05)
    deadline = http.deadline()
    for _ in range(2):
        with pytest.raises(HttpTimeout):
            await http.request("GET", URL, deadline=deadline, body_max_bytes=1000)
    assert held.waiting == 0


async def test_calls_beyond_the_connections_wait_for_one_until_their_deadline() -> None:
    """Not in httpcore's queue: there, each call that ends costs a search for each one that waits."""
    held = HeldTransport(httpx.MockTransport(respond()))
    http, count = client(held), 3 * CONNECTIONS

    async def call_all(*, seconds: float) -> list[HttpResponse | BaseException]:
        deadline = asyncio.get_running_loop().time() + seconds
        calls = (http.request("GET", URL, deadline=deadline, body_max_bytes=1000) for _ in range(count))
        return await asyncio.gather(*calls, return_exceptions=True)

    assert {type(outcome) for outcome in await call_all(seconds=0.5)} == {HttpTimeout}
    assert held.calls == CONNECTIONS
    held.release()
    assert await call_all(seconds=30) == [HttpResponse(200)] * count


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (httpx.ConnectError("refused"), HttpUnreachable),
        (httpx.ConnectTimeout("slow"), HttpUnreachable),
        (httpx.RemoteProtocolError("cut"), HttpUnreachable),
        (httpx.InvalidURL("no url"), HttpUnreachable),
        (httpx.StreamClosed(), HttpUnreachable),
        (ConnectionResetError(), HttpUnreachable),
        (UnicodeError("idna"), HttpUnreachable),
        (RuntimeError("closed"), HttpUnreachable),
        (httpx.ReadTimeout("slow"), HttpTimeout),
        (httpx.WriteTimeout("slow"), HttpTimeout),
        (httpx.PoolTimeout("full"), HttpTimeout),
        (TimeoutError(), HttpTimeout),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
async def test_every_foreign_exception_is_converted_and_its_content_dropped(
    failure: Exception, kind: type[HttpError]
) -> None:
    def fail(_request: httpx.Request) -> httpx.Response:
        raise failure

    with pytest.raises(kind) as caught:
        await get(httpx.MockTransport(fail))
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None
    if kind is HttpUnreachable:
        assert str(caught.value) == type(failure).__name__


async def test_a_url_that_cannot_be_parsed_is_unreachable() -> None:
    http = client(httpx.MockTransport(respond()))
    with pytest.raises(HttpUnreachable):
        await http.request("GET", "https://peer.example:port/", deadline=http.deadline(), body_max_bytes=1000)


async def test_cancellation_is_not_converted() -> None:
    held = HeldTransport(httpx.MockTransport(respond()))
    http = client(held)
    calling = asyncio.create_task(http.request("GET", URL, deadline=http.deadline(), body_max_bytes=1000))
    await held.reached()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_nothing_of_a_call_is_logged(log: LogRecorder) -> None:
    await get(httpx.MockTransport(respond()))
    assert SECRET not in log.text()


@pytest.fixture
def dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment variables that name a proxy that is not running."""
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("dead_proxy")
async def test_a_proxy_is_not_used_for_this_machine() -> None:
    served: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    http = client(None, url=url)
    response = await http.request("GET", url, deadline=http.deadline(), body_max_bytes=1000)
    assert (response.status, response.body, len(served)) == (200, b"{}", 1)
    await http.aclose()
    server.close()


@pytest.mark.usefixtures("dead_proxy")
async def test_a_proxy_is_used_for_other_machines() -> None:
    http = client(None, url="http://peer.example/")
    with pytest.raises(HttpUnreachable, match="ConnectError"):
        await http.request("GET", "http://peer.example/", deadline=http.deadline(), body_max_bytes=1000)
    await http.aclose()
