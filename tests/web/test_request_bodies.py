"""Request bodies: any chunks at any time within the deadline; the host may read them first."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from starlette.requests import HTTPConnection, Request
from starlette.types import Message

from kombo_embed import EndUser, KomboEmbed, LinkOptions
from kombo_embed.errors import BodyTooSlow
from kombo_embed.web.bodies import read_body
from kombo_embed.web.problems import problem_response
from tests.support import make_settings

ADA = EndUser("ada@acme.example", "Acme", "acme")
HEADERS = [(b"content-type", b"application/json"), (b"host", b"app.example")]
SCOPE = {"type": "http", "method": "POST", "path": "/links", "query_string": b"", "headers": HEADERS}
DISCONNECT = {"type": "http.disconnect"}


def receiving(*messages: Message, waits: int = 0) -> Callable[[], Awaitable[Message]]:
    remaining = [*messages]

    async def receive() -> Message:
        for _ in range(waits):
            await asyncio.sleep(0)
        return remaining.pop(0)

    return receive


def chunk(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def post_links(
    receive: Callable[[], Awaitable[Message]], kombo: httpx.AsyncBaseTransport, **options: Any
) -> int:
    """Return the status of ``POST /links``."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    end_user = {"end_user": lambda _connection: ADA}
    async with KomboEmbed(settings=make_settings(), http_transport=kombo, **end_user | options) as embed:
        await embed.app(dict(SCOPE), receive, send)
    status: int = sent[0]["status"]
    return status


@pytest.mark.parametrize("waits", [0, 1, 3])
@pytest.mark.parametrize(
    "messages",
    [
        [chunk(b"{}")],
        [chunk(b"")],
        [chunk(b"{", more=True), chunk(b"}")],
        [chunk(b"", more=True), chunk(b'{"language"', more=True), chunk(b':"de"}', more=True), chunk(b"")],
        [{"type": "http.request"}],
    ],
)
async def test_a_body_is_read_whatever_its_chunks_and_its_timing(
    messages: list[Message], waits: int, kombo: httpx.AsyncBaseTransport
) -> None:
    assert await post_links(receiving(*messages, waits=waits), kombo) == 200


@pytest.mark.parametrize("waits", [0, 2])
@pytest.mark.parametrize("before", [[], [chunk(b"{", more=True)]])
async def test_a_body_that_ends_early_is_malformed(
    before: list[Message], waits: int, kombo: httpx.AsyncBaseTransport
) -> None:
    assert await post_links(receiving(*before, DISCONNECT, waits=waits), kombo) == 400


@pytest.mark.parametrize("waits", [0, 1])
@pytest.mark.parametrize(
    "messages", [[chunk(b" " * 300_000)], [chunk(b" " * 100_000, more=True)] * 9], ids=["one", "many"]
)
async def test_a_body_beyond_the_limit_is_too_large_in_one_chunk_or_many(
    messages: list[Message], waits: int, kombo: httpx.AsyncBaseTransport
) -> None:
    assert await post_links(receiving(*messages, waits=waits), kombo) == 413


async def test_a_server_whose_receive_returns_a_future_is_supported(kombo: httpx.AsyncBaseTransport) -> None:
    def receive() -> Awaitable[Message]:
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, chunk(b"{}"))
        return future

    assert await post_links(receive, kombo) == 200


async def test_the_host_may_read_the_body_to_resolve_the_end_user(kombo: httpx.AsyncBaseTransport) -> None:
    bodies: list[bytes] = []

    async def end_user(connection: HTTPConnection) -> EndUser:
        assert isinstance(connection, Request)
        bodies.append(await connection.body())
        return ADA

    receive = receiving(chunk(b'{"language":', more=True), chunk(b'"xx"}'))
    assert await post_links(receive, kombo, end_user=end_user) == 422
    assert bodies == [b'{"language":"xx"}']


async def test_a_host_that_reads_the_body_after_us_gets_an_error_and_does_not_hang(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    raised: list[RuntimeError] = []

    async def link_options(connection: HTTPConnection, _end_user: EndUser) -> LinkOptions:
        assert isinstance(connection, Request)
        try:
            await connection.body()
        except RuntimeError as error:
            raised.append(error)
        return LinkOptions()

    assert await post_links(receiving(chunk(b"{}")), kombo, link_options=link_options) == 200
    assert len(raised) == 1


async def test_a_body_that_does_not_arrive_in_time_is_too_slow_and_its_reading_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def receive() -> Message:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    with pytest.raises(BodyTooSlow):
        await read_body(Request(dict(SCOPE), receive), limit=10, timeout_seconds=0)
    assert cancelled.is_set()


async def test_a_body_that_has_arrived_is_never_too_slow() -> None:
    request = Request(dict(SCOPE), receiving(chunk(b"{", more=True), chunk(b"}")))
    assert await read_body(request, limit=10, timeout_seconds=0) == b"{}"


async def test_what_receive_raises_propagates_whether_it_waited_or_not() -> None:
    for waits in (0, 2):
        with pytest.raises(IndexError):
            await read_body(Request(dict(SCOPE), receiving(waits=waits)), limit=10)


async def test_a_cancelled_read_lets_the_server_clean_up() -> None:
    cleaned_up = asyncio.Event()

    async def receive() -> Message:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned_up.set()
        raise AssertionError

    task = asyncio.create_task(read_body(Request(dict(SCOPE), receive), limit=10))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned_up.is_set()


async def exchange(
    receive: Callable[[], Awaitable[Message]], kombo: httpx.AsyncBaseTransport, **scope: Any
) -> tuple[int, dict[str, Any]]:
    """Return the status and the JSON of a response at the level of ASGI, where no server adds headers."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    embed = KomboEmbed(
        settings=make_settings(allow_disconnect=True), http_transport=kombo, end_user=lambda _connection: ADA
    )
    async with embed:
        await embed.app(SCOPE | scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


def headers(*pairs: tuple[str, str]) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"app.example"), *((name.encode(), value.encode("latin-1")) for name, value in pairs)]


TYPE, ENCODING = "content-type", "content-encoding"
PATHS = [
    ("POST", "/links"),
    ("POST", "/completions"),
    ("POST", "/integrations/x/relink"),
    ("POST", "/integrations/x/setup-link"),
    ("DELETE", "/integrations/x"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "messages",
    [
        [chunk(b"{}")],
        [chunk(b"", more=True), chunk(b"{}")],
        [chunk(b"{", more=True), chunk(b"}")],
        [chunk(b" ")],
        [chunk(b"x" * 20_000, more=True)] * 3,
        [chunk(b"{", more=True), DISCONNECT],
    ],
)
async def test_a_body_that_no_header_announces_is_checked_as_one_without_a_content_type(
    messages: list[Message], method: str, path: str, kombo: httpx.AsyncBaseTransport
) -> None:
    scope = {"http_version": "2", "method": method, "path": path, "headers": headers()}
    status, problem = await exchange(receiving(*messages, waits=1), kombo, **scope)
    assert (status, problem["code"]) == (415, "invalid_request")


@pytest.mark.parametrize("messages", [[chunk(b"")], [chunk(b"", more=True)] * 3 + [chunk(b"")]])
@pytest.mark.parametrize("announced", [(), (("transfer-encoding", "chunked"),), (("content-length", "0"),)])
async def test_a_request_without_a_body_counts_as_an_empty_object_whatever_announces_it(
    messages: list[Message], announced: tuple[tuple[str, str], ...], kombo: httpx.AsyncBaseTransport
) -> None:
    status, _ = await exchange(receiving(*messages), kombo, headers=headers(*announced))
    assert status == 200


@pytest.mark.parametrize(
    "given",
    [
        [(TYPE, "application/json"), (TYPE, "application/json")],
        [(TYPE, "application/json"), (TYPE, "text/plain")],
        [(TYPE, "text/plain"), (TYPE, "application/json")],
        [(TYPE, "application/json, text/plain")],
        [(TYPE, "text/plain; application/json")],
        [(TYPE, "application/json;charset=utf-16")],
        [(TYPE, 'application/json; charset="ISO-8859-1"')],
        [(TYPE, "application/json; charset=utf-8; charset=utf-7")],
        [(TYPE, "application/json"), (ENCODING, "gzip")],
        [(TYPE, "application/json"), (ENCODING, "identity"), (ENCODING, "br")],
        [(TYPE, "application/jsonp")],
        [(TYPE, "")],
        [(TYPE, "\xe9")],
    ],
)
async def test_headers_that_do_not_say_plain_json_in_utf_8_are_an_unsupported_media_type(
    given: list[tuple[str, str]], kombo: httpx.AsyncBaseTransport
) -> None:
    status, problem = await exchange(receiving(chunk(b"{}")), kombo, headers=headers(*given))
    assert (status, problem["code"]) == (415, "invalid_request")


@pytest.mark.parametrize(
    "given",
    [
        [(TYPE, "application/json; charset=UTF-8")],
        [(TYPE, 'application/json;charset="utf-8"')],
        [(TYPE, "APPLICATION/JSON ; boundary=x")],
        [(TYPE, "application/json"), (ENCODING, "identity")],
    ],
)
async def test_headers_that_say_json_in_utf_8_are_accepted(
    given: list[tuple[str, str]], kombo: httpx.AsyncBaseTransport
) -> None:
    assert (await exchange(receiving(chunk(b"{}")), kombo, headers=headers(*given)))[0] == 200


@pytest.mark.parametrize(
    "body", [b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"{}\x00", b"{}{}", b'{"a":"\xff"}']
)
async def test_what_is_not_json_in_utf_8_is_malformed(body: bytes, kombo: httpx.AsyncBaseTransport) -> None:
    status, problem = await exchange(
        receiving(chunk(body)), kombo, headers=headers((TYPE, "application/json"))
    )
    assert (status, problem["code"]) == (400, "invalid_request")


async def test_many_small_chunks_are_read_up_to_the_limit_and_no_further(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    body = b'{"language":"de"}'.ljust(8192)
    small = [chunk(body[at : at + 1], more=True) for at in range(len(body))]
    declared = headers((TYPE, "application/json"))
    assert (await exchange(receiving(*small, chunk(b"")), kombo, headers=declared))[0] == 200
    assert (await exchange(receiving(*small, chunk(b" ", more=True)), kombo, headers=declared))[0] == 413
    undeclared = receiving(*small[:1])  # the first byte decides
    assert (await exchange(undeclared, kombo, headers=headers()))[0] == 415


async def test_a_body_that_never_ends_has_a_code_and_a_status_of_its_own() -> None:
    problem = problem_response(BodyTooSlow("The body did not arrive within 30 s."))
    content = json.loads(bytes(problem.body))
    assert (problem.status_code, content["status"], content["code"]) == (408, 408, "body_too_slow")
