"""Several processes that share a SQLite file; each app has its own connections, as a process has."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import AsyncExitStack, closing

import httpx

from kombo_embed import Event
from kombo_embed.sandbox import Sandbox
from tests.fakes import PASS, FlakyTransport, HeldTransport, respond
from tests.support import DATABASE, eventually, make_host, person, running

ADA = person("ada@acme")


async def test_a_hundred_completions_of_one_token_write_one_record_and_one_event(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    events: list[Event] = []
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(3):
            app, embed = make_host(kombo)
            embed.on("integration.connected")(events.append)
            clients.append(await stack.enter_async_context(running(app)))
        link = (await clients[0].post("/kombo/links", headers=ADA, json={})).json()["link"]
        token = {"activation_token": (await sandbox.complete(link, "personio")).activation_token}
        responses = await asyncio.gather(
            *(clients[n % 3].post("/kombo/completions", headers=ADA, json=token) for n in range(100))
        )
        assert sorted(response.status_code for response in responses) == [200] * 99 + [201]
        assert len({response.json()["integration"]["id"] for response in responses}) == 1
        await eventually(lambda: len(events) == 1)
    with closing(sqlite3.connect(DATABASE)) as database, database:
        records = "select count(*) from kombo_embed_integrations"
        assert database.execute(records).fetchone() == (1,)
        written = "select count(*) from kombo_embed_events where type = 'integration.connected'"
        assert database.execute(written).fetchone() == (1,)


async def test_a_token_that_another_process_is_exchanging_is_completed_from_its_record(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    # Kombo accepts a token once: the second process is refused while the first has recorded nothing yet.
    path = "integration-by-token"
    held = HeldTransport(kombo, path=path, stage="response")
    used = respond(404, json={"error": {"code": None, "message": "used"}})

    def refuse(request: httpx.Request) -> httpx.Response:
        held.release()
        return used(request)

    flaky = FlakyTransport(held, PASS, then=refuse, path=path)
    one, _ = make_host(flaky)
    other, _ = make_host(flaky)
    async with running(one) as first, running(other) as second:
        link = (await first.post("/kombo/links", headers=ADA, json={})).json()["link"]
        token = {"activation_token": (await sandbox.complete(link, "personio")).activation_token}
        responses = await asyncio.gather(
            *(client.post("/kombo/completions", headers=ADA, json=token) for client in (first, second))
        )
    assert sorted(response.status_code for response in responses) == [200, 201]
