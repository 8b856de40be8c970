"""Several processes on one PostgreSQL, also behind PgBouncer: an integration is one record with one event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from kombo_embed import Event
from kombo_embed.sandbox import Sandbox
from tests.support import deliver_webhooks, eventually, make_host, person, running

ADA = person("ada@acme")


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture(params=["direct", "pgbouncer"])
def database_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue("postgres_url" if request.param == "direct" else "pgbouncer_url")
    return url


@pytest.fixture
async def workers(
    sandbox: Sandbox, database_url: str, events: list[Event]
) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Three workers of one app with handlers; the last one receives Kombo's webhooks."""
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(3):
            app, embed = make_host(httpx.ASGITransport(sandbox.app), database_url=database_url)
            for event_type in ("integration.connected", "integration.deleted"):
                embed.on(event_type)(events.append)
            clients.append(await stack.enter_async_context(running(app)))
            deliver_webhooks(sandbox, app)
        yield clients


async def test_a_hundred_completions_of_one_token_in_several_processes_have_one_first(
    sandbox: Sandbox, workers: list[httpx.AsyncClient], events: list[Event]
) -> None:
    link = (await workers[0].post("/kombo/links", headers=ADA, json={})).json()["link"]
    token = {"activation_token": (await sandbox.complete(link, "personio", duplicate=True)).activation_token}
    webhooks = asyncio.create_task(sandbox.settle())
    calls = (workers[n % 3].post("/kombo/completions", headers=ADA, json=token) for n in range(100))
    responses = await asyncio.gather(*calls)
    await webhooks
    statuses = sorted(response.status_code for response in responses)
    # The webhook may have been the first of all.
    assert statuses in ([200] * 99 + [201], [200] * 100)
    assert len({response.json()["integration"]["id"] for response in responses}) == 1
    for worker in workers:
        listed = (await worker.get("/kombo/integrations", headers=ADA)).json()["integrations"]
        assert [one["id"] for one in listed] == [responses[0].json()["integration"]["id"]]
    await eventually(lambda: bool(events))
    await sandbox.settle()
    assert [event.type for event in events] == ["integration.connected"]


async def test_every_event_is_handled_once_whichever_process_leases_it(
    sandbox: Sandbox, workers: list[httpx.AsyncClient], events: list[Event]
) -> None:
    for number in range(15):
        end_user = person(f"ada@org{number}")
        link = (await workers[0].post("/kombo/links", headers=end_user, json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        token = {"activation_token": flow.activation_token}
        await workers[number % 2].post("/kombo/completions", headers=end_user, json=token)
    await sandbox.settle()
    await eventually(lambda: len(events) >= 15)
    assert sorted(str(event.origin_id) for event in events) == sorted(f"org{number}" for number in range(15))
