"""The deadline and the retries of a call to Kombo, in real time and over a real socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import stamina

from kombo_embed import EndUser, errors
from kombo_embed.kombo.client import KomboClient
from kombo_embed.models import LinkRequest

ADA = EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")
HRIS = LinkRequest("HRIS", "en")
LINK = b'{"status":"success","data":{"link":"https://connect.kombo.dev/v1?token=x"}}'
DEADLINE_SECONDS = 0.6
PLENTY_SECONDS = 30.0  # even a busy machine does not pass it
Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
def retry_as_in_production() -> None:
    stamina.set_testing(testing=False)


@asynccontextmanager
async def peer(behaviour: Peer, *, deadline_seconds: float = PLENTY_SECONDS) -> AsyncIterator[KomboClient]:
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(ConnectionError):
            await behaviour(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = KomboClient(
        base_url=f"http://127.0.0.1:{port}/v1",
        api_key="ks_dev_key",
        timeout_seconds=deadline_seconds,
        connect_timeout_seconds=PLENTY_SECONDS,
        clock=time,
    )
    try:
        yield client
    finally:
        await client.aclose()
        for writer in writers:
            writer.close()
        server.close()
        await asyncio.sleep(0)


async def never_answer(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"{")
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("behaviour", [never_answer, drip])
async def test_the_deadline_holds_over_the_whole_call(behaviour: Peer) -> None:
    calls = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await behaviour(reader, writer)

    async with peer(count, deadline_seconds=DEADLINE_SECONDS) as client:
        began = time.monotonic()
        async with asyncio.timeout(PLENTY_SECONDS):
            # Neither peer ever ends its response, so only the deadline can end the call.
            with pytest.raises(errors.KomboTimeout):
                await client.mint_link(ADA, HRIS)
        assert time.monotonic() - began >= DEADLINE_SECONDS - 0.05
    assert calls <= 1  # the deadline is that of the call, not of each attempt


async def test_a_retry_that_would_pass_the_deadline_does_not_start() -> None:
    calls = 0

    async def busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 429 No\r\nRetry-After: 40\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with peer(busy) as client:
        began = time.monotonic()
        with pytest.raises(errors.KomboRateLimited) as caught:
            await client.mint_link(ADA, HRIS)
        assert caught.value.retry_after == 40
        assert calls == 1
        assert time.monotonic() - began < PLENTY_SECONDS  # it did not wait either


async def test_a_short_failure_is_retried_within_the_deadline() -> None:
    calls = 0

    async def recover(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await reader.readuntil(b"\r\n\r\n")
        if calls == 1:
            writer.write(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(LINK), LINK))
        writer.close()

    async with peer(recover) as client:
        assert await client.mint_link(ADA, HRIS) == "https://connect.kombo.dev/v1?token=x"
    assert calls == 2
