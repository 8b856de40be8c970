"""``kombo-embed sandbox`` and its development server."""

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

from kombo_embed.sandbox import Sandbox
from kombo_embed.sandbox.server import LOOPBACK, bind_port, run


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
            assert line, "it ended before it served"
            found = re.search(r"http://localhost:\d+", line)
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


def test_a_port_in_use_is_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with bind_port(LOOPBACK, 0, option="--port") as (_, port):
        assert run(Sandbox(), port=port) == 1
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", f"Port {port} is in use. Choose another one with --port.\n")
