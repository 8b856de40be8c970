"""A body is taken at once where it is there; where it is not, or the host reads it, nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from starlette.requests import HTTPConnection, Request
from starlette.types import Message

from kombo_embed import EndUser, KomboEmbed, LinkOptions
from kombo_embed.web.incoming import Incoming
from tests.support import make_settings

ADA = EndUser("ada@acme.example", "Acme", "acme")


def receiving(*messages: Message, pauses: int = 0) -> Callable[[], Awaitable[Message]]:
    left = [*messages]

    async def receive() -> Message:
        for _ in range(pauses):
            await asyncio.sleep(0)
        return left.pop(0)

    return receive


def piece(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def ask(
    receive: Callable[[], Awaitable[Message]], kombo: httpx.AsyncBaseTransport, **choices: Any
) -> int:
    """The status that ``POST /links`` is answered with."""
    chosen = {"end_user": lambda _connection: ADA, **choices}
    headers = [(b"content-type", b"application/json"), (b"host", b"app.example")]
    scope = {"type": "http", "method": "POST", "path": "/links", "query_string": b"", "headers": headers}
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async with KomboEmbed(settings=make_settings(), http_transport=kombo, **chosen) as embed:
        await embed.app(scope, receive, send)
    status: int = sent[0]["status"]
    return status


@pytest.mark.parametrize("pauses", [0, 1, 3])
@pytest.mark.parametrize(
    "messages",
    [
        [piece(b"{}")],
        [piece(b"")],
        [piece(b"{", more=True), piece(b"}")],
        [piece(b"", more=True), piece(b'{"language"', more=True), piece(b':"de"}', more=True), piece(b"")],
        [{"type": "http.request"}],
    ],
)
async def test_a_body_is_read_in_whatever_pieces_and_whenever_it_comes(
    messages: list[Message], pauses: int, kombo: httpx.AsyncBaseTransport
) -> None:
    assert await ask(receiving(*messages, pauses=pauses), kombo) == 200


@pytest.mark.parametrize("pauses", [0, 2])
@pytest.mark.parametrize("before", [[], [piece(b"{", more=True)]])
async def test_a_client_that_leaves_before_the_end_of_its_body_has_sent_none(
    before: list[Message], pauses: int, kombo: httpx.AsyncBaseTransport
) -> None:
    assert await ask(receiving(*before, {"type": "http.disconnect"}, pauses=pauses), kombo) == 400


async def test_a_body_that_grows_beyond_the_limit_is_refused_in_one_piece_and_in_many(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    assert await ask(receiving(piece(b" " * 300_000)), kombo) == 413
    assert await ask(receiving(*[piece(b" " * 100_000, more=True)] * 9), kombo) == 413


async def test_a_server_whose_receive_is_no_coroutine_is_served(kombo: httpx.AsyncBaseTransport) -> None:
    def receive() -> Awaitable[Message]:
        waiting: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(waiting.set_result, piece(b"{}"))
        return waiting

    assert await ask(receive, kombo) == 200


async def test_a_host_that_reads_the_body_to_know_who_asks_leaves_it_to_us(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    read: list[bytes] = []

    async def who(connection: HTTPConnection) -> EndUser:
        assert isinstance(connection, Request)
        read.append(await connection.body())
        return ADA

    assert (
        await ask(receiving(piece(b'{"language":', more=True), piece(b'"xx"}')), kombo, end_user=who) == 422
    )
    assert read == [b'{"language":"xx"}']


async def test_a_host_that_asks_for_the_body_after_us_is_told_so_and_does_not_hang(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    raised: list[str] = []

    async def choose(connection: HTTPConnection, _end_user: EndUser) -> LinkOptions:
        assert isinstance(connection, Request)
        try:
            await connection.body()
        except RuntimeError as error:
            raised.append(str(error))
        return LinkOptions()

    assert await ask(receiving(piece(b"{}")), kombo, link_options=choose) == 200
    assert raised == ["kombo-embed has read the body of this request already"]


async def test_what_was_held_back_comes_first() -> None:
    incoming = Incoming(receiving(piece(b"a", more=True), piece(b"b")))
    assert incoming.at_once() is None
    assert incoming.at_once() is None
    assert [(await incoming())["body"], (await incoming())["body"]] == [b"a", b"b"]
