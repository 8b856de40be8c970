"""Details are complete in the end, although Kombo fails half of the time and the worker is killed."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import httpx
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from kombo_embed.sandbox import Sandbox
from tests.journeys.killed_server import Server, handled, make_server, repeat, signed, until_healthy
from tests.support import API_KEY, served

KILLS = int(os.environ.get("DETAILS_TEST_KILLS", "3"))  # `make soak` sets more
COMPLETIONS = int(os.environ.get("DETAILS_TEST_COMPLETIONS", "24"))
LIFE_SECONDS = 0.8  # at most, once a server answers
KNOWN = ("ACTIVE", "COMPLETED", "Personio", "none")


class FailingDetails:
    """ASGI middleware around the sandbox that fails half of the reads of details."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._chance = random.Random(1)  # noqa: S311 - repeatable
        self.failures = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_read = scope["type"] == "http" and scope["path"].startswith("/v1/integrations/")
        if is_read and self._chance.random() < 0.5:
            self.failures += 1
            await Response(status_code=self._chance.choice([500, 502, 503]))(scope, receive, send)
        else:
            await self._app(scope, receive, send)


async def test_webhook_only_completions_have_their_details_in_the_end_and_one_event_each(
    sandbox: Sandbox, tmp_path: Path, database_url: str
) -> None:
    failing = FailingDetails(sandbox.app)
    server = make_server(tmp_path, database_url)
    async with served(failing) as kombo_url:
        server.environment["KOMBO_API_URL"] = f"{kombo_url}/v1"
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client:
            try:
                integrations = await report_while_killed(client, server, sandbox, kombo_url)
                await until_known(client, list(integrations.values()))
                await assert_connected_once(server, set(integrations))
            finally:
                await server.kill()
    assert failing.failures >= COMPLETIONS / 4


async def report_while_killed(
    client: httpx.AsyncClient, server: Server, sandbox: Sandbox, kombo_url: str
) -> dict[str, str]:
    """Send a webhook for each integration, repeatedly if necessary; return their origin ids."""
    chance = random.Random(2)  # noqa: S311 - repeatable
    integrations: dict[str, str] = {}

    async def report() -> None:
        for number in range(COMPLETIONS):
            origin_id = f"customer-{number}"
            integration_id = await complete(sandbox, kombo_url, origin_id)
            about = {"id": integration_id, "tool": "personio", "end_user": {"origin_id": origin_id}}
            await repeat(client, "/kombo/webhooks", **signed(origin_id, "integration-created", about))
            integrations[integration_id] = origin_id

    reporting = asyncio.create_task(report())
    for _ in range(KILLS):
        await server.start()
        await until_healthy(client)
        await asyncio.sleep(chance.uniform(0, LIFE_SECONDS))
        await server.kill()
    await server.start()
    await until_healthy(client)
    await reporting
    return integrations


async def complete(sandbox: Sandbox, kombo_url: str, origin_id: str) -> str:
    """Complete a flow at Kombo, whose end user closes the page; return Kombo's id of the integration."""
    end_user = {
        "end_user_email": "ada@customer.example",
        "end_user_organization_name": "Customer",
        "end_user_origin_id": origin_id,
    }
    headers = {"Authorization": f"Bearer {API_KEY}"}
    async with httpx.AsyncClient(base_url=kombo_url, headers=headers) as kombo:
        response = await kombo.post("/v1/connect/create-link", json=end_user)
    return (await sandbox.complete(response.json()["data"]["link"], "personio")).integration_id


async def until_known(client: httpx.AsyncClient, origin_ids: list[str]) -> None:
    async with asyncio.timeout(60 + 2 * COMPLETIONS):
        for origin_id in origin_ids:
            while await state(client, origin_id) != KNOWN:  # noqa: ASYNC110 - beyond a process
                await asyncio.sleep(0.1)


async def state(client: httpx.AsyncClient, origin_id: str) -> tuple[str | None, ...]:
    response = await client.get("/kombo/integrations", headers={"x-person": origin_id})
    [integration] = response.json()["integrations"]
    names = ("status", "setup_status", "tool_label", "next_action")
    return tuple(integration[name] for name in names)


async def assert_connected_once(server: Server, integration_ids: set[str]) -> None:
    """Wait for all handlers: events of a killed process are free when its lease ends."""
    async with asyncio.timeout(60):
        while {one for _, one, _ in handled(server)} != integration_ids:  # noqa: ASYNC110 - beyond a process
            await asyncio.sleep(0.2)
    assert set(handled(server).values()) == {1}
