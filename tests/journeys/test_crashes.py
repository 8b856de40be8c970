"""A real server is killed with -9 at random moments, repeatedly: nothing that it answered 2xx is lost."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.journeys.killed_server import Server, handled, make_server, repeat, signed, until_healthy
from tests.support import served

KILLS = int(os.environ.get("CRASH_TEST_KILLS", "10"))  # `make soak` sets more
DATABASE_URL = os.environ.get("CRASH_TEST_DATABASE_URL")  # a migrated PostgreSQL database; else SQLite
LIFE_SECONDS = 0.6  # at most, once a server answers
WRITERS = 4
HANDLERS = {"integration.connected": {"first_sync", "notify_sales"}, "kombo.event": {"note_sync"}}


@dataclass
class Answered:
    """What the server answered 2xx: it must be on disk afterwards."""

    integrations: dict[str, str] = field(default_factory=dict)  # with their origin ids
    synced: set[str] = field(default_factory=set)

    @property
    def count(self) -> int:
        return len(self.integrations) + len(self.synced)


def database_url(folder: Path) -> str:
    return DATABASE_URL or f"sqlite+aiosqlite:///{folder}/kombo_embed.db"


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return make_server(tmp_path, database_url(tmp_path))


async def test_what_was_answered_is_recorded_once_and_every_handler_ran(
    server: Server, sandbox: Sandbox, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(1)  # noqa: S311 - repeatable
    answered = Answered()
    async with served(sandbox.app) as kombo_url:
        server.environment["KOMBO_API_URL"] = f"{kombo_url}/v1"
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client:
            writing = [
                asyncio.create_task(write_forever(client, sandbox, answered, number))
                for number in range(WRITERS)
            ]
            for _ in range(KILLS):
                await server.start()
                await until_healthy(client)
                await asyncio.sleep(chance.uniform(0, LIFE_SECONDS))
                await server.kill()
            await server.start()
            await until_healthy(client)
            await asyncio.sleep(LIFE_SECONDS)
            for task in writing:
                task.cancel()
            ends = await asyncio.gather(*writing, return_exceptions=True)
            assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
            try:
                await assert_all_handlers_ran(server, answered)
                await assert_all_recorded(client, answered)
            finally:
                await server.kill()
    assert len(answered.integrations) >= KILLS
    if DATABASE_URL is None:
        with closing(sqlite3.connect(server.folder / "kombo_embed.db")) as database, database:
            assert database.execute("pragma integrity_check").fetchone() == ("ok",)
            ids = [row[0] for row in database.execute("select integration_id from kombo_embed_integrations")]
        assert len(ids) == len(set(ids))
        assert answered.integrations.keys() <= set(ids)
    record_property("figure", f"{KILLS} kills: 0 of {answered.count} acknowledged lost, 0 twice")


async def write_forever(client: httpx.AsyncClient, sandbox: Sandbox, answered: Answered, writer: int) -> None:
    """Send completions and webhooks; repeat what is not answered, as browsers and Kombo do."""
    number = 0
    while True:
        number += 1
        name = f"customer-{writer}-{number}"
        person = {"x-person": name}
        link = (await repeat(client, "/kombo/links", headers=person, json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        token = {"activation_token": flow.activation_token}
        await repeat(client, "/kombo/completions", headers=person, json=token)
        answered.integrations[flow.integration_id] = name
        about = {"integration_id": flow.integration_id}
        await repeat(client, "/kombo/webhooks", **signed(f"synced {name}", "sync-finished", about))
        answered.synced.add(flow.integration_id)
        created = {"id": flow.integration_id, "tool": "personio", "end_user": {"origin_id": name}}
        await repeat(client, "/kombo/webhooks", **signed(f"created {name}", "integration-created", created))


async def assert_all_handlers_ran(server: Server, answered: Answered) -> None:
    """Wait for all handlers: events of a killed process are free when its lease ends."""
    reported = {"integration.connected": answered.integrations, "kombo.event": answered.synced}
    expected = {
        (type_, one, name) for type_ in reported for one in reported[type_] for name in HANDLERS[type_]
    }
    async with asyncio.timeout(60):
        while not expected <= handled(server).keys():  # noqa: ASYNC110 - beyond a process
            await asyncio.sleep(0.2)
    # An event may be delivered several times, at least once is the guarantee; but it must be one event.
    assert set(handled(server).values()) == {1}


async def assert_all_recorded(client: httpx.AsyncClient, answered: Answered) -> None:
    for person in answered.integrations.values():
        response = await client.get("/kombo/integrations", headers={"x-person": person})
        assert len(response.json()["integrations"]) == 1, person
