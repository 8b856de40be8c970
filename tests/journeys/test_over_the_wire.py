"""The same promises with real servers and sockets in between."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from starlette.applications import Starlette

from kombo_embed import KomboEmbed
from kombo_embed.sandbox import Sandbox
from tests.support import (
    API_KEY,
    DATABASE,
    database_with_tables,
    eventually,
    make_settings,
    minted,
    served,
    who_the_header_names,
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
    KomboEmbed(end_user=who_the_header_names, settings=settings).install(app)
    return app


REQUEST = (
    b"POST /kombo/links HTTP/1.1\r\nHost: localhost\r\nX-Person: ada@acme\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
)


async def ask(url: str) -> bytes:
    """One browser on a connection of its own; gives the whole answer."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
    writer.write(REQUEST)
    answer = await reader.read()
    writer.close()
    return answer


async def test_five_hundred_browsers_at_once_are_one_call_to_kombo(sandbox: Sandbox) -> None:
    async with served(sandbox.app) as kombo_url, served(make_app(kombo_url)) as url:
        answers = await asyncio.gather(*(ask(url) for _ in range(500)))
    assert {answer[:15] for answer in answers} == {b"HTTP/1.1 200 OK"}
    assert len({answer.partition(b"\r\n\r\n")[2] for answer in answers}) == 1
    assert minted(sandbox) == 1


async def test_a_browser_that_hangs_up_changes_nothing_for_the_rest(sandbox: Sandbox) -> None:
    async with served(sandbox.app) as kombo_url, served(make_app(kombo_url)) as url:
        async with httpx.AsyncClient(base_url=kombo_url) as control:
            fault = {"path": "create-link", "mode": "slow", "seconds": 0.5, "times": 1}
            await control.post("/_sandbox/faults", json=fault)
        _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(REQUEST)
        await eventually(lambda: minted(sandbox) == 1)
        writer.transport.abort()
        answers = await asyncio.gather(*(ask(url) for _ in range(20)))
    assert {answer[:15] for answer in answers} == {b"HTTP/1.1 200 OK"}
    assert minted(sandbox) == 1


async def test_wrong_settings_stop_a_real_server_with_one_message(tmp_path: Path) -> None:
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


async def test_the_command_mints_a_magic_link(sandbox: Sandbox, tmp_path: Path) -> None:
    async def run(url: str, *options: str) -> tuple[int | None, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kombo_embed", "magic-link", "--organization", "Acme", *options),
            cwd=tmp_path,
            # The command asks nobody who is signed in, whatever the app's settings say of that.
            env={
                **os.environ,
                "KOMBO_API_KEY": API_KEY,
                "KOMBO_API_URL": f"{url}/v1",
                "KOMBO_AUTH": "bearer",
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            output, complaints = await process.communicate()
        return process.returncode, output.decode(), complaints.decode()

    (tmp_path / DATABASE).write_bytes(database_with_tables())
    someone = ("--email", "ada@acme.example", "--origin-id", "acme")
    async with served(sandbox.app) as url:
        code, output, complaints = await run(url, *someone, "--tool", "personio")
        assert (code, output.count("\n"), complaints) == (0, 1, "")
        assert output.startswith(f"{url}/connect?token=")
        code, output, _ = await run(url, *someone, "--json")
        assert json.loads(output)["link"].startswith(url)
        code, output, complaints = await run(url, *someone, "--category", "PAYROLL")
        assert (code, output) == (1, "")
        assert "Traceback" not in complaints
        code, _, complaints = await run(url, "--email", "nobody", "--origin-id", "acme")
        assert (code, complaints) == (1, "EndUser.email is not an email address\n")
