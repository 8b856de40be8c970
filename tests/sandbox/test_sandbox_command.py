"""``kombo-embed sandbox``, as a process."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest


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


async def address(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while True:
            line = (await process.stdout.readline()).decode()
            assert line, "it ended before it began"
            found = re.search(r"http://localhost:\d+", line)
            if found:
                return found[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_serves_until_it_is_told_to_end(number: signal.Signals, tmp_path: Path) -> None:
    async with command(tmp_path, "--port", "0") as process:
        url = await address(process)
        async with httpx.AsyncClient() as client:
            headers = {"Authorization": "Bearer any"}
            assert (await client.get(f"{url}/v1/check-api-key", headers=headers)).status_code == 200
            assert (await client.get(url)).status_code == 200
            process.send_signal(number)
            async with asyncio.timeout(30):
                _, complaints = await process.communicate()
    assert (process.returncode, complaints) == (0, b"")


async def test_its_key_and_secret_come_from_the_environment_and_from_the_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KOMBO_API_KEY=from-the-file\n", encoding="utf-8")
    async with command(tmp_path, "--port", "0") as process:
        url = await address(process)
        async with httpx.AsyncClient(base_url=url) as client:
            for key, status in (("from-the-file", 200), ("another", 401)):
                headers = {"Authorization": f"Bearer {key}"}
                assert (await client.get("/v1/check-api-key", headers=headers)).status_code == status


async def test_a_port_in_use_is_told_in_one_line(tmp_path: Path) -> None:
    async with command(tmp_path, "--port", "0") as first:
        port = (await address(first)).rpartition(":")[2]
        async with command(tmp_path, "--port", port) as second, asyncio.timeout(60):
            output, complaints = await second.communicate()
    assert (second.returncode, output) == (1, b"")
    assert complaints.decode() == f"Port {port} is in use. Choose another one with --port.\n"
