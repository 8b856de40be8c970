"""The guarantees with real servers and sockets in between."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.applications import Starlette

from kombo_embed import KomboEmbed
from kombo_embed.sandbox import Sandbox
from tests.support import (
    end_user_from_header,
    eventually,
    make_settings,
    minted,
    served,
)

HOST = """
from starlette.applications import Starlette
from kombo_embed import KomboEmbed
app = Starlette()
KomboEmbed(end_user=lambda connection: None).install(app)
"""


def make_app(kombo_url: str) -> Starlette:
    app = Starlette()
    settings = make_settings(api_url=f"{kombo_url}/v1")
    KomboEmbed(end_user=end_user_from_header, settings=settings).install(app)
    return app


REQUEST = (
    b"POST /kombo/links HTTP/1.1\r\nHost: localhost\r\nX-Person: ada@acme\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
)


async def request_link(url: str) -> bytes:
    """Request a link on a connection of its own; return the whole response."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
    writer.write(REQUEST)
    response = await reader.read()
    writer.close()
    return response


async def test_five_hundred_concurrent_browsers_share_one_mint(sandbox: Sandbox) -> None:
    async with served(sandbox.app) as kombo_url, served(make_app(kombo_url)) as url:
        responses = await asyncio.gather(*(request_link(url) for _ in range(500)))
    assert {response[:15] for response in responses} == {b"HTTP/1.1 200 OK"}
    assert len({response.partition(b"\r\n\r\n")[2] for response in responses}) == 1
    assert minted(sandbox) == 1


async def test_a_mint_continues_for_the_other_browsers_when_the_first_disconnects(sandbox: Sandbox) -> None:
    async with served(sandbox.app) as kombo_url, served(make_app(kombo_url)) as url:
        async with httpx.AsyncClient(base_url=kombo_url) as control:
            fault = {"path": "create-link", "mode": "slow", "seconds": 0.5, "times": 1}
            await control.post("/_sandbox/faults", json=fault)
        _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(REQUEST)
        await eventually(lambda: minted(sandbox) == 1)
        writer.transport.abort()
        responses = await asyncio.gather(*(request_link(url) for _ in range(20)))
    assert {response[:15] for response in responses} == {b"HTTP/1.1 200 OK"}
    assert minted(sandbox) == 1


@pytest.mark.integration  # in-process: tests/web/test_middleware.py
async def test_invalid_settings_stop_a_real_server_with_one_message(tmp_path: Path) -> None:
    (tmp_path / "host.py").write_text(HOST, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "host:app", "--port", "0"),
        cwd=tmp_path,
        env={**os.environ, "KOMBO_REGION": "mars", "KOMBO_TIMEOUT": "never"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    text = output.decode()
    assert process.returncode not in {0, None}
    for name in ("KOMBO_API_KEY", "KOMBO_REGION", "KOMBO_TIMEOUT"):
        assert text.count(f"{name}:") == 1
    assert "Traceback" not in text
    assert "mars" not in text
