"""What has to work under every ASGI server: path prefixes, HTTP/2, and the routes as its application."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from h2.connection import H2Connection
from h2.events import ResponseReceived

from kombo_embed.sandbox import Sandbox
from tests.support import API_KEY, DATABASE, database_with_tables, free_port, served

ADA = {"x-person": "ada@acme"}
HOST = "tests.journeys.served_host"
ROOT = Path(__file__).parents[2]
PLACES = ["/installed", "/mounted", "/by-path"]
# The options behind a proxy that has the app below /api. uvicorn puts the prefix in front of each path, so it
# serves only proxies that strip it. The others pass the path as it came; FastAPI declares the prefix itself.
STRIPPED, KEPT = "", "/api"
SERVERS = {
    "uvicorn": (["uvicorn", "--root-path", "/api"], "app", [STRIPPED]),
    "uvicorn, FastAPI(root_path)": (["uvicorn"], "app_with_root_path", [STRIPPED, KEPT]),
    "hypercorn": (["hypercorn", "--root-path", "/api"], "app", [STRIPPED, KEPT]),
    "granian": (["granian", "--url-path-prefix", "/api"], "app", [STRIPPED, KEPT]),
}
COMMON = {
    "uvicorn": ["--port", "{port}"],
    "hypercorn": ["--bind", "127.0.0.1:{port}"],
    "granian": ["--interface", "asgi", "--no-ws", "--port", "{port}"],
}


@asynccontextmanager
async def running(command: list[str], app: str, *, kombo_url: str) -> AsyncIterator[str]:
    """Run the host app by a server in a process; yield its base URL."""
    DATABASE.write_bytes(database_with_tables())
    port = free_port()
    options = [option.format(port=port) for option in COMMON[command[0]]]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command, *options, f"{HOST}:{app}"),
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KOMBO_API_KEY": API_KEY,
            "KOMBO_API_URL": f"{kombo_url}/v1",
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await _until_listening(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        async with asyncio.timeout(30):
            await process.wait()


async def _until_listening(process: asyncio.subprocess.Process, port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            assert process.returncode is None, "the server ended"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


@pytest.mark.parametrize("server", SERVERS)
async def test_behind_a_proxy_with_a_path_prefix_every_route_works(sandbox: Sandbox, server: str) -> None:
    command, app, prefixes = SERVERS[server]
    async with (
        served(sandbox.app) as kombo_url,
        running(command, app, kombo_url=kombo_url) as url,
        httpx.AsyncClient(base_url=url, headers=ADA, trust_env=False) as client,
    ):
        for prefix in prefixes:
            assert (await client.get(f"{prefix}/own")).status_code == 200  # the host's own route agrees
            for place in PLACES:
                await assert_serves(client, prefix + place)
        endpoints = (await client.get(f"{prefixes[0]}/own")).json()["endpoints"]
    assert "kombo_embed" in endpoints
    assert all(endpoints)


async def assert_serves(client: httpx.AsyncClient, base: str) -> None:
    link = await client.post(f"{base}/links", json={})
    assert (link.status_code, link.json()["link"].startswith("http://localhost")) == (200, True)
    assert (await client.get(f"{base}/health")).json()["status"] == "ok"
    module = await client.get(f"{base}/kombo-embed.js")
    assert module.status_code == 200
    assert (await client.get(f"{base}/openapi.json")).json()["paths"].keys() >= {"/links", "/health"}
    unknown = await client.get(f"{base}/integrations/unknown")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "integration_not_found")
    assert (await client.put(f"{base}/links")).json()["code"] == "method_not_allowed"
    for path in ("/nothing", "/links%0A", "/"):
        missing = await client.get(base + path)
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found"), path
        assert "location" not in missing.headers


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn", "granian"])
async def test_the_routes_are_the_application_of_a_server(sandbox: Sandbox, server: str) -> None:
    async with (
        served(sandbox.app) as kombo_url,
        running([server], "alone", kombo_url=kombo_url) as url,
        httpx.AsyncClient(base_url=url, headers=ADA, trust_env=False) as client,
    ):
        assert (await client.post("/links", json={})).status_code == 200
        assert (await client.get("/links%0A")).json()["code"] == "not_found"


async def post_by_http_2(url: str, body: bytes, headers: dict[str, str]) -> int:
    """Send a request whose headers announce no body, in one write; return the status of the response."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    connection = H2Connection()
    connection.initiate_connection()
    head = {":method": "POST", ":scheme": "http", ":authority": address.netloc, ":path": address.path}
    connection.send_headers(1, [*head.items(), *ADA.items(), *headers.items()], end_stream=not body)
    if body:
        connection.send_data(1, body, end_stream=True)
    writer.write(connection.data_to_send())
    try:
        async with asyncio.timeout(30):
            while True:
                for event in connection.receive_data(await reader.read(65_536)):
                    if isinstance(event, ResponseReceived):
                        return int(dict(event.headers)[b":status"])
                assert not reader.at_eof()
    finally:
        writer.close()


@pytest.mark.parametrize("server", [["hypercorn"], ["granian", "--http", "2"]], ids=lambda server: server[0])
async def test_http_2_without_content_type_and_length_gets_the_same_checks(
    sandbox: Sandbox, server: list[str]
) -> None:
    json_type = {"content-type": "application/json"}
    async with (
        served(sandbox.app) as kombo_url,
        running(server, "app", kombo_url=kombo_url) as url,
    ):
        for body, headers, status in (
            (b"", {}, 200),
            (b"{}", json_type, 200),
            (b"{}", {}, 415),
            (b"{}", {"content-type": "text/plain"}, 415),
            (b"{", json_type, 400),
            (b'{"origin_id": "other"}', json_type, 422),
            (b" " * 9_000, json_type, 413),
            (b" " * 9_000, {}, 415),
        ):
            found = await post_by_http_2(f"{url}/installed/links", body, headers)
            assert found == status, (body[:2], headers)
