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

from kombo_embed import ConfigurationError, KomboEmbed
from kombo_embed.demo import create_app, run
from kombo_embed.demo.server import close_embed_on_reset
from kombo_embed.sandbox import Sandbox
from tests.support import SANDBOX_URL, make_settings

PROGRAM = """
import sys
from kombo_embed.demo import run
sys.exit(run(port=0, sandbox_port=0, open_browser=False))
"""
ROOT = Path(__file__).parents[2]


@dataclass
class Demo:
    """The demo as a process, after it printed its announcement."""

    process: asyncio.subprocess.Process
    output: str

    @property
    def urls(self) -> list[str]:
        return re.findall(r"http://localhost:\d+", self.output)

    async def ended(self) -> tuple[int | None, str]:
        """Return the exit code and the errors."""
        async with asyncio.timeout(30):  # much less than a request that hangs takes
            _, errors = await self.process.communicate()
        return self.process.returncode, errors.decode()


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """The folder of the process's temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@asynccontextmanager
async def started(temporary: Path, **environment: str) -> AsyncIterator[Demo]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM),
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        output = ""
        async with asyncio.timeout(60):
            while "Ctrl-C" not in output and (line := await process.stdout.readline()):
                output += line.decode()
        yield Demo(process, output)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def left_open(url: str, request: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection, send this, and leave it open."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(request.replace("\n", "\r\n").encode())
    await writer.drain()
    return reader, writer


async def filled(browser: httpx.AsyncClient, url: str, name: str) -> None:
    """Wait until this part of the response is not empty."""
    async with asyncio.timeout(30):
        while True:
            if (await browser.get(url)).json()[name]:
                return
            await asyncio.sleep(0.02)


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_it_at_once_and_cleanly_despite_open_connections(
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


async def test_a_long_request_does_not_delay_the_end(temporary: Path) -> None:
    async with started(temporary) as demo, httpx.AsyncClient(trust_env=False) as client:
        sandbox = demo.urls[1]
        fault = {"path": "/check-api-key", "mode": "slow", "seconds": 600}
        assert (await client.post(f"{sandbox}/_sandbox/faults", json=fault)).is_success
        _, writer = await left_open(sandbox, "GET /v1/check-api-key HTTP/1.1\nHost: localhost\n\n")
        await filled(client, f"{sandbox}/_sandbox/state", "calls")
        with closing(writer):
            demo.process.send_signal(signal.SIGINT)
            demo.process.send_signal(signal.SIGINT)
            assert await demo.ended() == (0, "")


async def test_its_instructions_work_also_behind_a_proxy(temporary: Path) -> None:
    proxy = "http://127.0.0.1:9"
    async with (
        started(temporary, http_proxy=proxy, HTTP_PROXY=proxy, ALL_PROXY=proxy) as demo,
        httpx.AsyncClient(trust_env=False) as browser,
    ):
        host, sandbox = demo.urls
        assert "Ada, Grace (Northwind Coffee) or Margaret (Bluefjord Health)" in demo.output
        assert (await browser.get(f"{sandbox}/")).status_code == 200
        await browser.post(f"{host}/sign-in", data={"person": "ada"})
        link = (await browser.post(f"{host}/kombo/links", json={})).json()["link"]
        assert link.startswith(sandbox)
        await browser.post(f"{sandbox}/_sandbox/complete", json={"link": link, "tool": "personio"})
        # Recorded from the signed webhook: no completion was sent.
        await filled(browser, f"{host}/kombo/integrations", "integrations")


@pytest.mark.parametrize("option", ["--port", "--sandbox-port"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_port_in_use_is_reported_with_the_option_that_chooses_another(
    option: str, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        taken = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with closing(taken):
        port = taken.getsockname()[1]
        ports = {"port": port, "sandbox_port": 0} if option == "--port" else {"port": 0, "sandbox_port": port}
        assert run(**ports, open_browser=False) == 1
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", f"Port {port} is in use. Choose another one with {option}.\n")


@pytest.mark.parametrize(("control", "body"), [("reset", {}), ("clock", {"advance": 3600})])
async def test_links_cached_before_a_reset_or_a_later_hour_are_not_issued_again(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, control: str, body: dict[str, int]
) -> None:
    app = create_app(make_settings(), session_secret="made-up", http_transport=kombo)
    embed: KomboEmbed = app.state.embed
    control_app = close_embed_on_reset(sandbox.app, embed)
    async with (
        embed,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app.example") as browser,
        httpx.AsyncClient(transport=httpx.ASGITransport(control_app), base_url=SANDBOX_URL) as controls,
    ):
        await browser.post("/sign-in", data={"person": "ada"})
        cached, again = [(await browser.post("/kombo/links", json={})).json()["link"] for _ in range(2)]
        assert (await controls.post(f"/_sandbox/{control}", json=body)).status_code == 200
        issued = (await browser.post("/kombo/links", json={})).json()["link"]
        assert (cached == again, cached == issued) == (True, False)
        await sandbox.complete(issued)


async def test_a_configured_database_is_kept(temporary: Path, tmp_path: Path) -> None:
    database = tmp_path / "own.db"
    async with started(temporary, KOMBO_DATABASE_URL=f"sqlite+aiosqlite:///{database}") as demo:
        demo.process.send_signal(signal.SIGINT)
        assert await demo.ended() == (0, "")
    assert database.exists()


@pytest.mark.parametrize("from_file", [False, True])
async def test_with_an_api_key_it_uses_real_kombo_and_starts_no_sandbox(
    temporary: Path, tmp_path: Path, from_file: bool
) -> None:
    if from_file:
        (tmp_path / ".env").write_text("KOMBO_API_KEY=ks_made_up\n")
    key = {"KOMBO_API_KEY": "" if from_file else "ks_made_up"}
    async with started(temporary, KOMBO_WEBHOOK_SECRET="whsec_made_up", **key) as demo:
        [host] = demo.urls
        assert "ks_made_up" not in demo.output
        async with httpx.AsyncClient(trust_env=False) as browser:
            await browser.post(f"{host}/sign-in", data={"person": "ada"})
            page = await browser.get(f"{host}/")
        assert '"sandbox_url": null' in page.text
        assert "frame-src https:" in page.headers["content-security-policy"]
        demo.process.send_signal(signal.SIGINT)
        assert await demo.ended() == (0, "")
    assert tmp_path / "kombo_embed.db" in files_in(tmp_path)
    assert files_in(temporary) == []


def test_an_invalid_variable_raises_even_without_an_api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMBO_REGION", "mars")
    with pytest.raises(ConfigurationError, match="KOMBO_REGION") as caught:
        run(port=0, sandbox_port=0, open_browser=False)
    assert "KOMBO_API_KEY" not in str(caught.value)


def test_a_port_out_of_range_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(port=70_000, sandbox_port=0, open_browser=False) == 1
    assert "Port 70000 cannot be used" in capsys.readouterr().err
