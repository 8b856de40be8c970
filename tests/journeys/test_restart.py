"""A server is killed with SIGKILL right after it answered; see `test_crashes` for kills at random moments."""

from __future__ import annotations

import os
from pathlib import Path

import httpx

from kombo_embed.sandbox import Sandbox
from tests.journeys.killed_server import Server, until_healthy
from tests.journeys.test_crashes import Answered, assert_all_handlers_ran, assert_all_recorded
from tests.support import API_KEY, WEBHOOK_SECRET, free_port, served


async def test_a_completion_answered_201_survives_a_kill_and_its_handlers_are_called(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "KOMBO_API_KEY": API_KEY,
        "KOMBO_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "KOMBO_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/kombo_embed.db",
        "EVENTS_FILE": str(tmp_path / "events.jsonl"),
    }
    server = Server(free_port(), environment, tmp_path)
    ada = {"x-person": "ada"}
    async with (
        served(sandbox.app) as kombo_url,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client,
    ):
        environment["KOMBO_API_URL"] = f"{kombo_url}/v1"
        await server.start()
        await until_healthy(client)
        link = (await client.post("/kombo/links", headers=ada, json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        token = {"activation_token": flow.activation_token}
        assert (await client.post("/kombo/completions", headers=ada, json=token)).status_code == 201
        await server.kill()
        await server.start()
        try:
            await until_healthy(client)
            answered = Answered({flow.integration_id: "ada"})
            await assert_all_handlers_ran(server, answered)
            await assert_all_recorded(client, answered)
        finally:
            await server.kill()
