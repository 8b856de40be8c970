"""The examples for other frameworks, each under a real server: a whole flow, and the start and the end."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.processes import serving
from tests.support import API_KEY, DATABASE, WEBHOOK_SECRET, database_with_tables, free_port, served

pytestmark = pytest.mark.integration

EXAMPLES = Path(__file__).parents[2] / "examples"
FRAMEWORKS = ["litestar_session", "quart_session", "django_session", "flask_wsgi"]
SERVERS = {
    "uvicorn": ["uvicorn", "--port", "{port}"],
    "hypercorn": ["hypercorn", "--bind", "127.0.0.1:{port}"],
    "granian": ["granian", "--interface", "asgi", "--no-ws", "--port", "{port}"],
}


def environment(name: str) -> dict[str, str]:
    return {"PYTHONPATH": str(EXAMPLES / name), "SESSION_SECRET": "made-up"}


async def printed(process: asyncio.subprocess.Process, text: str) -> None:
    """Wait until the process prints this."""
    assert process.stdout is not None
    output = ""
    async with asyncio.timeout(60):
        while text not in output:
            line = await process.stdout.readline()
            assert line, output
            output += line.decode()


@pytest.mark.parametrize(
    ("name", "server"),
    [
        *((name, "uvicorn") for name in FRAMEWORKS),
        *(("django_session", server) for server in ("hypercorn", "granian")),
        ("litestar_session", "granian"),
        ("quart_session", "hypercorn"),
        ("flask_wsgi", "granian"),
    ],
)
async def test_an_end_user_signs_in_and_connects_a_tool(sandbox: Sandbox, name: str, server: str) -> None:
    DATABASE.write_bytes(database_with_tables())
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [option.format(port=port) for option in SERVERS[server]]
    async with served(sandbox.app) as kombo_url:
        environ = {
            **environment(name),
            "KOMBO_API_KEY": API_KEY,
            "KOMBO_API_URL": f"{kombo_url}/v1",
            "KOMBO_WEBHOOK_SECRET": WEBHOOK_SECRET,
        }
        program = (sys.executable, "-m", *command, "app:app")
        async with (
            serving(*program, url=url, environ=environ, output=asyncio.subprocess.PIPE) as host,
            httpx.AsyncClient(base_url=url, trust_env=False, follow_redirects=True) as browser,
        ):
            sandbox.webhook_url = f"{url}/kombo/webhooks"
            refused = await browser.post("/kombo/links", json={})
            assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
            assert "kombo-connect-button" in (await browser.post("/sign-in")).text
            first = await browser.post("/kombo/links", json={})
            assert first.status_code == 200
            assert (await browser.get("/kombo/kombo-embed.js")).status_code == 200

            # The tab is closed: the webhook alone reports it, and the handler runs.
            await sandbox.complete(first.json()["link"], "personio")
            await printed(host, "personio of org_1 is connected")
            flow = await sandbox.complete(
                (await browser.post("/kombo/links", json={})).json()["link"], "hibob"
            )
            done = await browser.post("/kombo/completions", json={"activation_token": flow.activation_token})
            assert done.status_code in {200, 201}
            listed = (await browser.get("/kombo/integrations")).json()["integrations"]
            assert {integration["tool"] for integration in listed} == {"personio", "hibob"}

            browser.cookies.set("session", "forged")
            browser.cookies.set("sessionid", "forged")
            assert (await browser.post("/kombo/links", json={})).status_code == 401
            foreign = {"Origin": "https://elsewhere.example"}
            assert (await browser.post("/kombo/links", json={}, headers=foreign)).status_code == 403
            host.terminate()
            async with asyncio.timeout(60):
                output, _ = await host.communicate()
    assert b"Traceback" not in output


@pytest.mark.parametrize("name", FRAMEWORKS)
async def test_invalid_settings_stop_the_start(name: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "--port", str(free_port()), "app:app"),
        env={**os.environ, **environment(name), "KOMBO_REGION": "mars"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert process.returncode == 3  # uvicorn's for a start that failed
    assert "KOMBO_API_KEY: missing" in output.decode()
