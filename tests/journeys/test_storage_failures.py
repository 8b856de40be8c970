"""The database fails under the app: calls get 503 with Retry-After, and the same call succeeds later.

The failures are real ones: a limit, a missing file, a stopped server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from kombo_embed import KomboEmbed
from kombo_embed.sandbox import Sandbox
from tests.postgres import PostgresServer
from tests.support import files_no_larger_than, make_host, person, running

ADA = person("ada@acme")
FILE = Path("kombo_embed.db")


@dataclass
class App:
    """A running app, with what its end users do."""

    client: httpx.AsyncClient
    sandbox: Sandbox
    embed: KomboEmbed

    async def finish_flow(self) -> str:
        """Connect a tool in Kombo's dialog; return the activation token."""
        link = (await self.client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        return (await self.sandbox.complete(link, "personio")).activation_token

    async def complete(self, token: str) -> httpx.Response:
        return await self.client.post("/kombo/completions", headers=ADA, json={"activation_token": token})

    async def assert_unavailable(self, token: str) -> None:
        response = await self.complete(token)
        assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")
        assert response.headers["retry-after"] == "5"
        assert response.json()["detail"].startswith("This does not work at the moment.")

    async def assert_recovered(self, token: str) -> None:
        assert (await self.client.get("/kombo/health")).status_code == 200
        assert (await self.complete(token)).status_code == 201
        assert (await self.complete(token)).status_code == 200
        assert len(await self.embed.integrations("acme")) == 1


@asynccontextmanager
async def opened(sandbox: Sandbox, database_url: str) -> AsyncIterator[App]:
    app, embed = make_host(httpx.ASGITransport(sandbox.app), database_url=database_url)
    async with running(app) as client:
        yield App(client, sandbox, embed)


async def test_with_a_full_disk_a_completion_gets_503_and_succeeds_later(
    sandbox: Sandbox, sqlite_url: str
) -> None:
    async with opened(sandbox, sqlite_url) as app:
        token = await app.finish_flow()
        with files_no_larger_than(100):
            await app.assert_unavailable(token)
        await app.assert_recovered(token)


async def test_without_the_database_file_a_completion_gets_503_and_succeeds_later(
    sandbox: Sandbox, sqlite_url: str
) -> None:
    async with opened(sandbox, sqlite_url) as app:
        token = await app.finish_flow()
        FILE.rename("kept.db")  # noqa: ASYNC240 - nothing else runs here
        await app.assert_unavailable(token)
        assert (await app.client.get("/kombo/health")).status_code == 503
        Path("kept.db").rename(FILE)  # noqa: ASYNC240 - as above
        await app.assert_recovered(token)


async def test_with_a_stopped_server_a_completion_gets_503_and_succeeds_later(
    sandbox: Sandbox, postgres: PostgresServer, postgres_url: str
) -> None:
    async with opened(sandbox, postgres_url) as app:
        token = await app.finish_flow()
        postgres.stop("immediate")
        try:
            await app.assert_unavailable(token)
            assert (await app.client.get("/kombo/health")).status_code == 503
        finally:
            postgres.start()
        await app.assert_recovered(token)
