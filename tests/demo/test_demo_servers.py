from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from kombo_embed import ConfigurationError
from kombo_embed.demo import run

PROGRAM = """
import sys
from kombo_embed.demo import run
sys.exit(run(port=int(sys.argv[1]), sandbox_port=int(sys.argv[2]), open_browser=False))
"""
ROOT = Path(__file__).parents[2]


@dataclass
class Demo:
    """The demo as a process, once it says what to open."""

    process: asyncio.subprocess.Process
    said: str

    @property
    def urls(self) -> list[str]:
        """The addresses that it told."""
        return re.findall(r"http://localhost:\d+", self.said)

    async def ended(self) -> tuple[int | None, str]:
        """The exit code and what it complained of."""
        async with asyncio.timeout(30):  # much less than a request that hangs takes
            _, complaints = await self.process.communicate()
        return self.process.returncode, complaints.decode()


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the process puts its temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@asynccontextmanager
async def started(temporary: Path, *ports: int, **environment: str) -> AsyncIterator[Demo]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, *(map(str, ports or (0, 0)))),
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        said = ""
        async with asyncio.timeout(60):
            while "Ctrl-C" not in said and (line := await process.stdout.readline()):
                said += line.decode()
        yield Demo(process, said)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def left_open(url: str, request: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that sent this and stays."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(request.replace("\n", "\r\n").encode())
    await writer.drain()
    return reader, writer


async def filled(browser: httpx.AsyncClient, url: str, name: str) -> None:
    """Returns when this part of the answer is not empty any more."""
    async with asyncio.timeout(30):
        while True:
            if (await browser.get(url)).json()[name]:
                return
            await asyncio.sleep(0.02)


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_it_ends_at_once_and_clean_whatever_browsers_still_hold_open(
    temporary: Path, number: signal.Signals
) -> None:
    async with started(temporary) as demo, AsyncExitStack() as stack:
        host, sandbox = demo.urls
        assert files_in(temporary) != []
        for url in (host, sandbox):
            reader, writer = await left_open(url, "GET / HTTP/1.1\nHost: localhost\n\n")
            stack.callback(writer.close)
            assert b" 200 " in await reader.readline()
            _, writer = await left_open(url, "GET / HTTP/1.1\nHost: loc")
            stack.callback(writer.close)
        demo.process.send_signal(number)
        assert await demo.ended() == (0, "")
        assert files_in(temporary) == []


async def test_a_request_that_takes_long_does_not_hold_up_the_end(temporary: Path) -> None:
    async with started(temporary) as demo, httpx.AsyncClient(trust_env=False) as client:
        sandbox = demo.urls[1]
        order = {"path": "/check-api-key", "mode": "slow", "seconds": 600}
        assert (await client.post(f"{sandbox}/_sandbox/faults", json=order)).is_success
        _, writer = await left_open(sandbox, "GET /v1/check-api-key HTTP/1.1\nHost: localhost\n\n")
        await filled(client, f"{sandbox}/_sandbox/state", "calls")
        with closing(writer):
            demo.process.send_signal(signal.SIGINT)
            demo.process.send_signal(signal.SIGINT)
            assert await demo.ended() == (0, "")


async def test_it_says_what_to_do_and_all_of_it_works(temporary: Path) -> None:
    proxy = "http://127.0.0.1:9"
    async with (
        started(temporary, http_proxy=proxy, HTTP_PROXY=proxy, ALL_PROXY=proxy) as demo,
        httpx.AsyncClient(trust_env=False) as browser,
    ):
        host, sandbox = demo.urls
        assert "Ada, Grace (Northwind Coffee) or Margaret (Bluefjord Health)" in demo.said
        assert (await browser.get(f"{sandbox}/")).status_code == 200
        await browser.post(f"{host}/sign-in", data={"person": "ada"})
        link = (await browser.post(f"{host}/kombo/links", json={})).json()["link"]
        assert link.startswith(sandbox)
        await browser.post(f"{sandbox}/_sandbox/complete", json={"link": link, "tool": "personio"})
        # Told by a signed webhook: nobody sent a completion.
        await filled(browser, f"{host}/kombo/integrations", "integrations")


@pytest.mark.parametrize("option", ["--port", "--sandbox-port"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_port_in_use_is_named_with_the_option_that_chooses_another(
    temporary: Path, option: str, address: str
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        taken = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with closing(taken):
        port = taken.getsockname()[1]
        ports = (port, 0) if option == "--port" else (0, port)
        async with started(temporary, *ports) as demo:
            code, complaints = await demo.ended()
            assert (code, demo.said) == (1, "")
            assert complaints == f"Port {port} is in use. Choose another one with {option}.\n"
            assert files_in(temporary) == []


async def test_a_database_of_ones_own_is_kept(temporary: Path, tmp_path: Path) -> None:
    database = tmp_path / "own.db"
    async with started(temporary, KOMBO_DATABASE_URL=f"sqlite+aiosqlite:///{database}") as demo:
        demo.process.send_signal(signal.SIGINT)
        assert await demo.ended() == (0, "")
    assert database.exists()


@pytest.mark.parametrize("from_file", [False, True])
async def test_with_an_api_key_it_talks_to_real_kombo_and_starts_no_sandbox(
    temporary: Path, tmp_path: Path, from_file: bool
) -> None:
    if from_file:
        (tmp_path / ".env").write_text("KOMBO_API_KEY=ks_made_up\n")
    async with started(temporary, KOMBO_API_KEY="" if from_file else "ks_made_up") as demo:
        [host] = demo.urls
        assert "ks_made_up" not in demo.said
        async with httpx.AsyncClient(trust_env=False) as browser:
            await browser.post(f"{host}/sign-in", data={"person": "ada"})
            page = await browser.get(f"{host}/")
        assert '"sandbox_url": null' in page.text
        assert "frame-src https:" in page.headers["content-security-policy"]
        demo.process.send_signal(signal.SIGINT)
        assert await demo.ended() == (0, "")
    assert tmp_path / "kombo_embed.db" in files_in(tmp_path)
    assert files_in(temporary) == []


def test_a_wrong_variable_is_told_even_without_an_api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMBO_REGION", "mars")
    with pytest.raises(ConfigurationError, match="KOMBO_REGION") as caught:
        run(port=0, sandbox_port=0, open_browser=False)
    assert "KOMBO_API_KEY" not in str(caught.value)


def test_a_port_that_is_none_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(port=70_000, sandbox_port=0, open_browser=False) == 1
    assert "Port 70000 cannot be used" in capsys.readouterr().err
