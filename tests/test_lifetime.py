from __future__ import annotations

from contextlib import AsyncExitStack
from typing import NoReturn

import httpx
import pytest
from starlette.applications import Starlette

from kombo_embed import ConfigurationError, KomboEmbed
from kombo_embed.lifetime import Lifetime
from tests.support import make_settings


@pytest.mark.parametrize("error", [RuntimeError, KeyError, ImportError, OSError, AssertionError])
async def test_any_exception_while_opening_becomes_one_sentence_without_its_message(
    error: type[Exception],
) -> None:
    async def open_all(stack: AsyncExitStack) -> NoReturn:
        del stack
        raise error("redis://:password@host")

    with pytest.raises(ConfigurationError, match=error.__name__) as raised:
        await Lifetime(open_all).open()
    assert "password" not in str(raised.value)
    assert isinstance(raised.value.__cause__, error)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NO_PROXY", "localhost,[::1]"),
        ("ALL_PROXY", "socks5://proxy.invalid:1080"),
        ("HTTPS_PROXY", "nonsense://proxy.invalid"),
        ("SSL_CERT_FILE", "/nonexistent/certificates.pem"),
    ],
)
async def test_wrong_proxies_and_certificates_stop_the_start_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    if name == "NO_PROXY":
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    settings = make_settings(api_url="https://api.kombo.dev/v1")
    embed = KomboEmbed(end_user=lambda _: None, settings=settings)
    with pytest.raises(ConfigurationError, match="kombo-embed cannot start") as raised:
        await embed.open()
    assert name in str(raised.value)


async def test_a_settings_callable_that_fails_stops_the_start() -> None:
    def read() -> NoReturn:
        raise KeyError("the host's own")

    embed = KomboEmbed(end_user=lambda _: None, settings=read)
    with pytest.raises(ConfigurationError, match="KeyError"):
        await embed.open()
    app = Starlette()
    embed.install(app)  # importing an app always works
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app.example") as client:
        response = await client.get("/kombo/health")
    assert (response.status_code, response.json()["code"]) == (500, "configuration")
