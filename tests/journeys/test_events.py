"""Events reach the host's handlers."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import httpx

from kombo_embed import Event
from kombo_embed.sandbox import Sandbox
from tests.support import DATABASE, deliver_webhooks, eventually, make_host, person, running, webhook_request

ADA = person("ada@acme")


def created(number: int) -> dict[str, Any]:
    data = {"id": f"personio:{number}", "tool": "personio", "end_user": {"origin_id": "acme"}}
    return webhook_request(f"event-{number}", "integration-created", data)


def add_event_of_a_later_version() -> None:
    with closing(sqlite3.connect(DATABASE)) as database, database:
        database.execute(
            """
            insert into kombo_embed_outbox
                (environment, event_id, type, integration, data, occurred_at,
                attempts, done_handlers, due_at)
            select environment, 'unreadable', type, '{"future": 1}', data, occurred_at, 0, '[]', occurred_at
            from kombo_embed_events
            """
        )


async def test_handlers_of_one_name_are_all_called_and_an_unreadable_event_delays_no_other(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    app, embed = make_host(kombo)
    calls: list[int] = []

    def make_handler(number: int) -> Any:
        async def handler(_event: Event) -> None:
            calls.append(number)

        return handler

    for number in range(3):
        embed.on("integration.connected")(make_handler(number))
    async with running(app) as client:
        await client.post("/kombo/webhooks", **created(1))
        await eventually(lambda: sorted(calls) == [0, 1, 2])
        # In a thread, because a transaction of the app may have to end on this loop first.
        await asyncio.to_thread(add_event_of_a_later_version)
        await client.post("/kombo/webhooks", **created(2))
        await eventually(lambda: len(calls) == 6)


async def test_a_failed_flow_reaches_the_host_with_the_url_of_kombos_log(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, embed = make_host(kombo)
    events: list[Event] = []
    embed.on("flow.failed")(events.append)
    async with running(app) as client:
        deliver_webhooks(sandbox, app)
        link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        await sandbox.fail(link)
        await sandbox.settle()
        await eventually(lambda: len(events) == 1)
    assert (events[0].origin_id, events[0].actor) == ("acme", "ada@acme.example")
    assert str(events[0].data["log_url"]).startswith("http")
