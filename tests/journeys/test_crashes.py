"""A real server is killed with -9 at random moments, again and again: nothing that it answered is lost."""

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

from kombo_embed.kombo.webhooks import sign
from kombo_embed.sandbox import Sandbox
from tests.support import API_KEY, WEBHOOK_SECRET, free_port, served

KILLS = int(os.environ.get("CRASH_TEST_KILLS", "10"))  # `make soak` wants more
DATABASE_URL = os.environ.get("CRASH_TEST_DATABASE_URL")  # a PostgreSQL, made and migrated; else SQLite
LIFE = 0.6  # seconds that a server lives at most, once it answers
WRITERS = 4
HANDLERS = {"integration.connected": {"first_sync", "tell_sales"}, "kombo.event": {"note_sync"}}


@dataclass
class Answered:
    """What the server said is done: it must be there afterwards."""

    integrations: dict[str, str] = field(default_factory=dict)  # to whose they are
    synced: set[str] = field(default_factory=set)


@dataclass
class Server:
    """The app in a process of its own, on a port that stays."""

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


def database_url(folder: Path) -> str:
    return DATABASE_URL or f"sqlite+aiosqlite:///{folder}/kombo_embed.db"


@pytest.fixture
def server(tmp_path: Path) -> Server:
    environment = {
        **os.environ,
        "KOMBO_API_KEY": API_KEY,
        "KOMBO_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "KOMBO_DATABASE_URL": database_url(tmp_path),
        "HEARD": str(tmp_path / "heard.jsonl"),
    }
    return Server(free_port(), environment, tmp_path)


async def test_what_was_answered_is_there_once_and_every_hook_ran(server: Server, sandbox: Sandbox) -> None:
    chance = random.Random(1)  # noqa: S311 - repeatable
    answered = Answered()
    async with served(sandbox.app) as kombo_url:
        server.environment["KOMBO_API_URL"] = f"{kombo_url}/v1"
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client:
            writing = [
                asyncio.create_task(write_for_ever(client, sandbox, answered, number))
                for number in range(WRITERS)
            ]
            for _ in range(KILLS):
                await server.start()
                await answers(client)
                await asyncio.sleep(chance.uniform(0, LIFE))
                await server.kill()
            await server.start()
            await answers(client)
            await asyncio.sleep(LIFE)
            for task in writing:
                task.cancel()
            ends = await asyncio.gather(*writing, return_exceptions=True)
            assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
            try:
                await all_hooks_ran(server, answered)
                await everything_is_there(client, answered)
            finally:
                await server.kill()
    assert len(answered.integrations) >= KILLS
    if DATABASE_URL is None:
        with sqlite3.connect(server.folder / "kombo_embed.db") as database:
            assert database.execute("pragma integrity_check").fetchone() == ("ok",)
            ids = [row[0] for row in database.execute("select integration_id from kombo_embed_integrations")]
        assert len(ids) == len(set(ids))
        assert answered.integrations.keys() <= set(ids)


async def write_for_ever(
    client: httpx.AsyncClient, sandbox: Sandbox, answered: Answered, writer: int
) -> None:
    """Completions and webhooks; what is not answered is sent again, as browsers and Kombo do."""
    number = 0
    while True:
        number += 1
        name = f"customer-{writer}-{number}"
        person = {"x-person": name}
        link = (await insist(client, "/kombo/links", headers=person, json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        token = {"activation_token": flow.activation_token}
        await insist(client, "/kombo/completions", headers=person, json=token)
        answered.integrations[flow.integration_id] = name
        about = {"integration_id": flow.integration_id}
        await insist(client, "/kombo/webhooks", **signed(f"synced {name}", "sync-finished", about))
        answered.synced.add(flow.integration_id)
        created = {"id": flow.integration_id, "tool": "personio", "end_user": {"origin_id": name}}
        await insist(client, "/kombo/webhooks", **signed(f"created {name}", "integration-created", created))


def signed(event_id: str, type_: str, data: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps({"id": event_id, "type": type_, "data": data}).encode()
    return {"content": body, "headers": {"X-Kombo-Signature": sign(body, WEBHOOK_SECRET)}}


async def insist(client: httpx.AsyncClient, path: str, **request: Any) -> httpx.Response:
    while True:
        with suppress(httpx.HTTPError):
            answer = await client.post(path, **request)
            if answer.status_code < 300:
                return answer
            assert answer.status_code >= 500, answer.text
        await asyncio.sleep(0.02)


async def answers(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while True:
            with suppress(httpx.HTTPError):
                if (await client.get("/kombo/health")).status_code == 200:
                    return
            await asyncio.sleep(0.02)


def heard(server: Server) -> Counter[tuple[str, str, str]]:
    """How often each handler heard of each integration, by type."""
    lines = (server.folder / "heard.jsonl").read_text(encoding="utf-8").splitlines()
    events = {(one["handler"], one["id"]): one for one in map(json.loads, lines)}
    return Counter((one["type"], one["about"], handler) for (handler, _), one in events.items())


async def all_hooks_ran(server: Server, answered: Answered) -> None:
    """Events of a process that was killed are free when its lease ends."""
    told = {"integration.connected": answered.integrations, "kombo.event": answered.synced}
    wanted = {(type_, one, name) for type_ in told for one in told[type_] for name in HANDLERS[type_]}
    async with asyncio.timeout(60):
        while not wanted <= heard(server).keys():  # noqa: ASYNC110 - beyond a process
            await asyncio.sleep(0.2)
    # Several deliveries of one event are one: at least once is the promise. Several events are not.
    assert set(heard(server).values()) == {1}


async def everything_is_there(client: httpx.AsyncClient, answered: Answered) -> None:
    for person in answered.integrations.values():
        shown = await client.get("/kombo/integrations", headers={"x-person": person})
        assert len(shown.json()["integrations"]) == 1, person
