"""Several processes that share a database: one record and one event per integration.

Each app of these tests has its own connections and single-flight, as a process has.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from kombo_embed import Event
from kombo_embed.sandbox import Sandbox
from tests.fakes import FlakyTransport, HeldTransport, respond
from tests.support import DATABASE, deliver_webhooks, eventually, make_host, person, running

ADA = person("ada@acme")


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
async def workers(
    sandbox: Sandbox, database_url: str, events: list[Event]
) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Start three workers of one app; the last receives Kombo's webhooks, and all have a handler."""
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(3):
            app, embed = make_host(httpx.ASGITransport(sandbox.app), database_url=database_url)
            for event_type in ("integration.connected", "integration.deleted"):
                embed.on(event_type)(events.append)
            clients.append(await stack.enter_async_context(running(app)))
        deliver_webhooks(sandbox, app)
        yield clients


async def test_a_hundred_completions_and_two_webhooks_of_one_flow_are_one_record_and_one_event(
    sandbox: Sandbox, workers: list[httpx.AsyncClient], events: list[Event]
) -> None:
    link = (await workers[0].post("/kombo/links", headers=ADA, json={})).json()["link"]
    token = {"activation_token": (await sandbox.complete(link, "personio", duplicate=True)).activation_token}
    webhooks = asyncio.create_task(sandbox.settle())
    calls = (workers[n % 3].post("/kombo/completions", headers=ADA, json=token) for n in range(100))
    responses = await asyncio.gather(*calls)
    await webhooks
    statuses = sorted(response.status_code for response in responses)
    assert statuses in ([200] * 99 + [201], [200] * 100)  # the latter if the webhook was first
    assert len({response.json()["integration"]["id"] for response in responses}) == 1
    for worker in workers:
        rows = (await worker.get("/kombo/integrations", headers=ADA)).json()["integrations"]
        assert [row["id"] for row in rows] == [responses[0].json()["integration"]["id"]]
    await eventually(lambda: bool(events))
    await sandbox.settle()
    assert [event.type for event in events] == ["integration.connected"]


async def test_each_event_is_handled_once_in_any_process(
    sandbox: Sandbox, workers: list[httpx.AsyncClient], events: list[Event]
) -> None:
    for number in range(15):
        who = person(f"ada@org{number}")
        link = (await workers[0].post("/kombo/links", headers=who, json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        token = {"activation_token": flow.activation_token}
        await workers[number % 2].post("/kombo/completions", headers=who, json=token)
    await sandbox.settle()
    await eventually(lambda: len(events) >= 15)
    assert sorted(str(event.origin_id) for event in events) == sorted(f"org{number}" for number in range(15))


async def test_concurrent_completions_of_one_token_write_one_record_and_one_event(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, events: list[Event]
) -> None:
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
        await eventually(lambda: len(events) == 1)
    with sqlite3.connect(DATABASE) as database:
        records = "select count(*) from kombo_embed_integrations"
        assert database.execute(records).fetchone() == (1,)
        written = "select count(*) from kombo_embed_outbox where type = 'integration.connected'"
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

    flaky = FlakyTransport(held, None, then=refuse, path=path)
    one, _ = make_host(flaky)
    other, _ = make_host(flaky)
    async with running(one) as first, running(other) as second:
        link = (await first.post("/kombo/links", headers=ADA, json={})).json()["link"]
        token = {"activation_token": (await sandbox.complete(link, "personio")).activation_token}
        responses = await asyncio.gather(
            *(client.post("/kombo/completions", headers=ADA, json=token) for client in (first, second))
        )
    assert sorted(response.status_code for response in responses) == [200, 201]
