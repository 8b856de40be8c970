"""The database fails under the app: 503 with Retry-After, and the same call succeeds later.

The failures are real: a lock, a limit, a missing file, a stopped server. For failing inserts see
`test_failing_inserts`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from kombo_embed import Event, KomboEmbed
from kombo_embed.sandbox import Sandbox
from tests.postgres import PostgresServer
from tests.support import (
    DATABASE,
    eventually,
    files_no_larger_than,
    make_host,
    person,
    running,
    webhook_request,
)

ADA = person("ada@acme")
COMPLETIONS = 30
ATTEMPTS = 20  # of one request


@dataclass
class App:
    """A running app, and the acts of its end users."""

    client: httpx.AsyncClient
    sandbox: Sandbox
    embed: KomboEmbed

    async def finish_flow(self) -> str:
        """Complete a flow at Kombo; return the activation token."""
        link = (await self.client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        return (await self.sandbox.complete(link, "personio")).activation_token

    async def complete(self, token: str) -> httpx.Response:
        return await self.client.post(
            "/kombo/completions", headers=ADA, json={"activation_token": token}, timeout=30
        )

    async def gets_503(self, token: str) -> None:
        response = await self.complete(token)
        assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")
        assert response.headers["retry-after"] == "5"
        assert response.json()["detail"].startswith("This cannot be read or stored at the moment.")

    async def recovers(self, token: str) -> None:
        assert (await self.client.get("/kombo/health")).status_code == 200
        assert (await self.complete(token)).status_code == 201
        assert (await self.complete(token)).status_code == 200
        assert len(await self.embed.integrations("acme")) == 1


def created(number: int) -> dict[str, Any]:
    data = {"id": f"personio:{number}", "tool": "personio"}
    return webhook_request(f"event-{number}", "integration-created", data)


@asynccontextmanager
async def opened(sandbox: Sandbox, database_url: str) -> AsyncIterator[App]:
    app, embed = make_host(httpx.ASGITransport(sandbox.app), database_url=database_url)
    async with running(app) as client:
        yield App(client, sandbox, embed)


async def test_while_another_process_holds_the_write_lock_all_requests_get_503_after_one_wait(
    sandbox: Sandbox, sqlite_url: str
) -> None:
    async with opened(sandbox, sqlite_url) as app:
        token = await app.finish_flow()
        webhooks = [created(number) for number in range(40)]
        other = sqlite3.connect(DATABASE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        started = asyncio.get_running_loop().time()
        async with asyncio.timeout(25):  # one after the other they would wait for 200 seconds
            completions = [asyncio.create_task(app.gets_503(token)) for _ in range(3)]
            responses = await asyncio.gather(
                *(app.client.post("/kombo/webhooks", **webhook) for webhook in webhooks)
            )
            await asyncio.gather(*completions)
        assert asyncio.get_running_loop().time() - started > 4.5  # the lock may end meanwhile
        assert {response.status_code for response in responses} == {503}
        assert {response.headers["retry-after"] for response in responses} == {"5"}
        other.execute("ROLLBACK")
        other.close()
        assert (await app.client.post("/kombo/webhooks", **webhooks[0])).status_code == 204
        await app.recovers(token)


async def test_requests_cancelled_during_a_transaction_leave_the_database_usable(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        for number in range(80):
            task = asyncio.create_task(client.post("/kombo/webhooks", **created(number)))
            # Each moment of a transaction; its steps run in a thread of the driver, so no event marks them.
            await asyncio.sleep(number % 40 * 0.0003)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            later = await client.post("/kombo/webhooks", **created(10_000 + number))
            assert later.status_code == 204, number
        with sqlite3.connect(DATABASE, timeout=1) as other:
            other.execute("BEGIN IMMEDIATE")
            other.rollback()


async def test_on_a_full_disk_a_completion_gets_503_and_succeeds_later(
    sandbox: Sandbox, sqlite_url: str
) -> None:
    async with opened(sandbox, sqlite_url) as app:
        token = await app.finish_flow()
        with files_no_larger_than(100):
            await app.gets_503(token)
        await app.recovers(token)


async def test_without_its_file_a_completion_gets_503_and_succeeds_later(
    sandbox: Sandbox, sqlite_url: str
) -> None:
    async with opened(sandbox, sqlite_url) as app:
        token = await app.finish_flow()
        DATABASE.rename("moved.db")
        await app.gets_503(token)
        assert (await app.client.get("/kombo/health")).status_code == 503
        Path("moved.db").rename(DATABASE)  # noqa: ASYNC240 - as above
        await app.recovers(token)


async def test_while_postgresql_is_down_a_completion_gets_503_and_succeeds_later(
    sandbox: Sandbox, postgres: PostgresServer, postgres_url: str
) -> None:
    async with opened(sandbox, postgres_url) as app:
        token = await app.finish_flow()
        postgres.stop("immediate")
        try:
            await app.gets_503(token)
            assert (await app.client.get("/kombo/health")).status_code == 503
        finally:
            postgres.start()
        await app.recovers(token)


async def test_completions_whose_connections_are_terminated_are_each_recorded_and_reported_once(
    sandbox: Sandbox, postgres: PostgresServer, postgres_url: str
) -> None:
    terminated = 0

    async def terminate_connections() -> None:
        nonlocal terminated
        while True:
            terminated += len(
                await postgres.aexecute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'kombo-embed' AND random() < 0.05"
                )
            )

    async with opened(sandbox, postgres_url) as app:
        terminating = asyncio.create_task(terminate_connections())
        await complete_all(app)
        terminating.cancel()
        await asyncio.gather(terminating, return_exceptions=True)
    assert terminated > 0


async def complete_all(app: App) -> None:
    """Complete many flows, each until it succeeds; each must then be recorded and reported once."""
    connected: list[str] = []

    @app.embed.on("integration.connected")
    async def append(event: Event) -> None:
        assert event.integration is not None
        connected.append(event.integration.integration_id)

    async def connect() -> None:
        issued = await succeed(lambda: app.client.post("/kombo/links", headers=ADA, json={}))
        flow = await app.sandbox.complete(issued.json()["link"], "personio")
        await succeed(lambda: app.complete(flow.activation_token))

    for _ in range(COMPLETIONS // 10):
        await asyncio.gather(*(connect() for _ in range(10)))
    await eventually(lambda: len(connected) >= COMPLETIONS)
    recorded = [one.integration_id for one in await app.embed.integrations("acme")]
    assert len(recorded) == COMPLETIONS
    assert sorted(connected) == sorted(recorded)


async def succeed(request: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """Repeat a request while it gets 503."""
    for _ in range(ATTEMPTS):
        response = await request()
        if response.is_success:
            return response
        assert (response.status_code, "retry-after" in response.headers) == (503, True)
    raise AssertionError("it never succeeded")
