"""``kombo-embed sandbox`` and its development server."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from kombo_embed.sandbox.server import LOOPBACK, bind_port, run
from tests.support import free_port


@asynccontextmanager
async def command(tmp_path: Path, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kombo_embed", "sandbox", *options),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    yield process
    if process.returncode is None:
        process.kill()
        await process.wait()


async def address(process: asyncio.subprocess.Process, pattern: str = r"http://localhost:\d+") -> str:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while True:
            line = (await process.stdout.readline()).decode()
            assert line, "it ended before it served"
            found = re.search(pattern, line)
            if found:
                return found[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_command_serves_with_the_key_of_the_env_file_until_a_signal(
    number: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("KOMBO_API_KEY=from-the-file\n", encoding="utf-8")
    async with command(tmp_path, "--port", "0") as process:
        url = await address(process)
        async with httpx.AsyncClient(base_url=url) as client:
            for key, status in (("from-the-file", 200), ("another", 401)):
                headers = {"Authorization": f"Bearer {key}"}
                assert (await client.get("/v1/check-api-key", headers=headers)).status_code == status
            assert (await client.get("/")).status_code == 200
            process.send_signal(number)
            async with asyncio.timeout(30):
                _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")


async def test_in_a_container_it_listens_on_every_address_and_links_name_the_public_url(
    tmp_path: Path,
) -> None:
    port = free_port()
    options = ("--host", "0.0.0.0", "--public-url", f"http://sandbox.test:{port}/")  # noqa: S104 - the point
    body = {"end_user_email": "ada@acme.example", "end_user_organization_name": "Acme"}
    async with command(tmp_path, "--port", str(port), *options) as process:
        assert await address(process, r"http://sandbox\.test:\d+") == f"http://sandbox.test:{port}"
        # Any address of this machine reaches it; 127.0.0.2 stands for that of a container.
        async with httpx.AsyncClient(base_url=f"http://127.0.0.2:{port}", trust_env=False) as client:
            key = {"Authorization": "Bearer any"}
            minted = await client.post("/v1/connect/create-link", json=body, headers=key)
            link = minted.json()["data"]["link"]
            assert link.startswith(f"http://sandbox.test:{port}/connect?token=")
            path = link.removeprefix(f"http://sandbox.test:{port}")
            for host, status in ((f"sandbox.test:{port}", 200), (f"evil.example:{port}", 403)):
                assert (await client.get(path, headers={"Host": host})).status_code == status
                assert (await client.get("/_sandbox/state", headers={"Host": host})).status_code == status


@pytest.mark.parametrize("host", ["::1", "::", "localhost"])
async def test_it_listens_on_addresses_of_ipv6(tmp_path: Path, host: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with command(tmp_path, "--port", "0", "--host", host) as process:
        url = await address(process, r"http://(localhost|\[::1\]):\d+")
        async with httpx.AsyncClient(trust_env=False) as client:
            for name in {"::1": ["[::1]"]}.get(host, ["[::1]", "127.0.0.1"]):
                assert (await client.get(f"http://{name}:{urlsplit(url).port}/")).status_code == 200


@pytest.mark.parametrize("host", ["192.0.2.77", "nonsense.invalid", "2001:db8::77"])
async def test_a_host_that_is_not_of_this_machine_is_reported_in_one_line(tmp_path: Path, host: str) -> None:
    async with command(tmp_path, "--port", "0", "--host", host) as process:
        output, errors = await process.communicate()
    message = f"{host} is not an address of this machine. Choose another one with --host.\n"
    assert (process.returncode, output.decode(), errors.decode()) == (1, "", message)


@pytest.mark.parametrize(
    "url",
    [
        "sandbox:8001",
        "http://",
        "http://sandbox/path",
        "http://a@sandbox",
        "http://sandbox:x",
        "ftp://x",
        "http://[",
    ],
)
async def test_a_public_url_that_is_no_origin_is_refused(tmp_path: Path, url: str) -> None:
    async with command(tmp_path, "--public-url", url) as process:
        _, errors = await process.communicate()
    assert (process.returncode, errors.decode().count("\n")) == (1, 1)
    assert errors.startswith(b"--public-url must be an address without a path")


def test_a_port_in_use_is_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with bind_port(LOOPBACK, 0, option="--port") as (_, port):
        assert run(Sandbox(), port=port) == 1
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", f"Port {port} is in use. Choose another one with --port.\n")
