"""A real server is killed with SIGKILL at random moments: nothing that it answered 2xx is lost."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.support import API_KEY, WEBHOOK_SECRET, free_port, served, webhook_request

KILLS = int(os.environ.get("CRASH_TEST_KILLS", "10"))  # `make soak` sets more
DATABASE_URL = os.environ.get("CRASH_TEST_DATABASE_URL")  # a migrated PostgreSQL database; else SQLite
MAX_LIFE_SECONDS = 0.6  # of a server, once it responds
WRITERS = 4
HANDLERS = {"integration.connected": {"start_first_sync", "notify_sales"}, "kombo.event": {"note_sync"}}


@dataclass
class Acknowledged:
    """What the server answered 2xx: it must be there afterwards."""

    integrations: dict[str, str] = field(default_factory=dict)  # Kombo's ids, to the end user's name
    synced: set[str] = field(default_factory=set)


@dataclass
class Server:
    """The app in a process of its own, always on the same port."""

    port: int
    environment: dict[str, str]
    folder: Path
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "uvicorn", "crashing_host:app", "--port", str(self.port)),
                *("--app-dir", str(Path(__file__).parent), "--log-level", "warning"),
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    async def kill(self) -> None:
        assert self.process is not None
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    def handler_calls(self) -> Counter[tuple[str, str, str]]:
        """Count the events of each handler, by type and integration; repeated deliveries count as one."""
        lines = (self.folder / "handler_calls.jsonl").read_text(encoding="utf-8").splitlines()
        calls = {(call["handler"], call["event_id"]): call for call in map(json.loads, lines)}
        return Counter(
            (call["type"], call["integration_id"], handler) for (handler, _), call in calls.items()
        )


@pytest.fixture
def server(tmp_path: Path) -> Server:
    environment = {
        **os.environ,
        "KOMBO_API_KEY": API_KEY,
        "KOMBO_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "KOMBO_DATABASE_URL": DATABASE_URL or f"sqlite+aiosqlite:///{tmp_path}/kombo_embed.db",
        "HANDLER_CALLS": str(tmp_path / "handler_calls.jsonl"),
    }
    return Server(free_port(), environment, tmp_path)


@pytest.mark.parametrize("kills", [2, pytest.param(KILLS, marks=pytest.mark.integration)])
async def test_what_was_answered_2xx_is_recorded_once_and_every_handler_was_called(
    server: Server, sandbox: Sandbox, kills: int
) -> None:
    chance = random.Random(1)  # noqa: S311 - repeatable
    acknowledged = Acknowledged()
    async with served(sandbox.app) as kombo_url:
        server.environment["KOMBO_API_URL"] = f"{kombo_url}/v1"
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client:
            writers = [
                asyncio.create_task(write_forever(client, sandbox, acknowledged, number))
                for number in range(WRITERS)
            ]
            for _ in range(kills):
                await server.start()
                await until_healthy(client)
                await asyncio.sleep(chance.uniform(0, MAX_LIFE_SECONDS))  # a kill at a random moment
                await server.kill()
            await server.start()
            await until_healthy(client)
            await until_written(acknowledged, kills)
            for task in writers:
                task.cancel()
            ends = await asyncio.gather(*writers, return_exceptions=True)
            assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
            try:
                await until_handled(server, acknowledged)
                await assert_listed(client, acknowledged)
            finally:
                await server.kill()
    if DATABASE_URL is None:
        assert_recorded_once(server.folder / "kombo_embed.db", acknowledged)


async def write_forever(
    client: httpx.AsyncClient, sandbox: Sandbox, acknowledged: Acknowledged, writer: int
) -> None:
    """Send completions and webhooks, each until it succeeds, as browsers and Kombo do."""
    number = 0
    while True:
        number += 1
        name = f"customer-{writer}-{number}"
        person = {"x-person": name}
        link = (await post_until_success(client, "/kombo/links", headers=person, json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        token = {"activation_token": flow.activation_token}
        await post_until_success(client, "/kombo/completions", headers=person, json=token)
        acknowledged.integrations[flow.integration_id] = name
        synced = webhook_request(f"synced {name}", "sync-finished", {"integration_id": flow.integration_id})
        await post_until_success(client, "/kombo/webhooks", **synced)
        acknowledged.synced.add(flow.integration_id)
        data = {"id": flow.integration_id, "tool": "personio", "end_user": {"origin_id": name}}
        created = webhook_request(f"created {name}", "integration-created", data)
        await post_until_success(client, "/kombo/webhooks", **created)


async def post_until_success(client: httpx.AsyncClient, path: str, **request: Any) -> httpx.Response:
    while True:
        with suppress(httpx.HTTPError):
            response = await client.post(path, **request)
            if response.is_success:
                return response
            assert response.status_code >= 500, response.text
        await asyncio.sleep(0.02)  # a process restarts


async def until_healthy(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while True:
            with suppress(httpx.HTTPError):
                if (await client.get("/kombo/health")).status_code == 200:
                    return
            await asyncio.sleep(0.02)  # a process starts


async def until_written(acknowledged: Acknowledged, count: int) -> None:
    async with asyncio.timeout(60):
        while len(acknowledged.integrations) < max(count, WRITERS):  # noqa: ASYNC110 - by another process
            await asyncio.sleep(0.02)


async def until_handled(server: Server, acknowledged: Acknowledged) -> None:
    """Wait for all handlers; the events of a process that was killed are due when its lease has expired."""
    written = {"integration.connected": acknowledged.integrations, "kombo.event": acknowledged.synced}
    wanted = {
        (type_, one, handler) for type_ in written for one in written[type_] for handler in HANDLERS[type_]
    }
    async with asyncio.timeout(60):
        while not wanted <= server.handler_calls().keys():  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.2)
    # An event may be delivered more than once; there must not be a second event.
    assert set(server.handler_calls().values()) == {1}


async def assert_listed(client: httpx.AsyncClient, acknowledged: Acknowledged) -> None:
    for person in acknowledged.integrations.values():
        listed = await client.get("/kombo/integrations", headers={"x-person": person})
        assert len(listed.json()["integrations"]) == 1, person


def assert_recorded_once(file: Path, acknowledged: Acknowledged) -> None:
    with sqlite3.connect(file) as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
        ids = [row[0] for row in database.execute("select integration_id from kombo_embed_integrations")]
    assert len(ids) == len(set(ids))
    assert acknowledged.integrations.keys() <= set(ids)
