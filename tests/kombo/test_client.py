from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from kombo_embed import EndUser, errors
from kombo_embed.kombo.client import KomboClient
from kombo_embed.models import LinkRequest

ADA = EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")
HRIS = LinkRequest("HRIS", "en")
LINK = {"status": "success", "data": {"link": "https://connect.kombo.dev/v1?token=x"}}
Peer = Callable[[httpx.Request], httpx.Response]


def client(peer: Peer, *, timeout: float = 10) -> KomboClient:
    return KomboClient(
        base_url="https://api.kombo.dev/v1",
        api_key="ks_dev_key",
        timeout=timeout,
        connect_timeout=3,
        clock=time,
        transport=httpx.MockTransport(peer),
    )


async def test_the_key_goes_as_a_bearer_and_the_body_as_json() -> None:
    def peer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer ks_dev_key"
        assert request.headers["content-type"] == "application/json"
        assert str(request.url) == "https://api.kombo.dev/v1/connect/create-link"
        return httpx.Response(200, json=LINK)

    assert await client(peer).mint_link(ADA, HRIS) == "https://connect.kombo.dev/v1?token=x"


async def test_a_token_is_percent_encoded_into_the_path() -> None:
    def peer(request: httpx.Request) -> httpx.Response:
        assert request.url.raw_path == b"/v1/connect/integration-by-token/a%2Bb%3D%3Ac"
        return httpx.Response(200, json={"data": {"id": "personio:x", "tool": "personio"}})

    assert (await client(peer).integration_by_token("a+b=:c")).integration_id == "personio:x"


async def test_a_redirect_is_not_followed() -> None:
    asked: list[str] = []

    def peer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(307, headers={"Location": "https://evil.example/"})

    with pytest.raises(errors.KomboInvalidResponse):
        await client(peer).mint_link(ADA, HRIS)
    assert asked == ["api.kombo.dev"]


async def test_an_answer_without_end_is_cut_off() -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(10_000):
            yield b"x" * 65536
        raise AssertionError("read to the end")

    with pytest.raises(errors.KomboInvalidResponse, match="longer"):
        await client(lambda _: httpx.Response(200, content=endless())).mint_link(ADA, HRIS)


class Unread(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        raise AssertionError("it was read")
        yield b""


async def test_a_compressed_answer_is_not_unpacked() -> None:
    def peer(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept-encoding"] == "identity"
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=Unread())

    with pytest.raises(errors.KomboInvalidResponse, match="compressed"):
        await client(peer).mint_link(ADA, HRIS)


async def test_the_deadline_holds_for_an_answer_that_drips() -> None:
    async def drip() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    with pytest.raises(errors.KomboTimeout):
        await client(lambda _: httpx.Response(200, content=drip()), timeout=0.05).mint_link(ADA, HRIS)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (httpx.ConnectError("refused"), errors.KomboUnavailable),
        (httpx.ConnectTimeout("slow"), errors.KomboUnavailable),
        (httpx.RemoteProtocolError("cut"), errors.KomboUnavailable),
        (httpx.ReadTimeout("slow"), errors.KomboTimeout),
        (httpx.PoolTimeout("full"), errors.KomboTimeout),
        (ConnectionResetError(), errors.KomboUnavailable),
    ],
)
async def test_what_the_network_raises_becomes_ours_and_carries_nothing_along(
    failure: Exception, kind: type[errors.KomboError]
) -> None:
    def peer(_request: httpx.Request) -> httpx.Response:
        raise failure

    with pytest.raises(kind) as caught:
        await client(peer).mint_link(ADA, HRIS)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "PLATFORM.INPUT_INVALID"),
        (404, "PLATFORM.INTEGRATION_NOT_FOUND"),
        (404, None),
        (410, "NEW.CODE"),
    ],
)
async def test_however_kombo_refuses_a_token_it_is_one_error(status: int, code: str | None) -> None:
    body = {"status": "error", "error": {"code": code, "message": "?"}}
    with pytest.raises(errors.ActivationRejected):
        await client(lambda _: httpx.Response(status, json=body)).integration_by_token("token")


async def test_a_refused_key_is_not_blamed_on_the_token() -> None:
    body = {"status": "error", "error": {"code": "PLATFORM.AUTHENTICATION_INVALID", "message": "?"}}
    with pytest.raises(errors.KomboRejected) as caught:
        await client(lambda _: httpx.Response(401, json=body)).integration_by_token("token")
    assert caught.value.cause == "credentials"
