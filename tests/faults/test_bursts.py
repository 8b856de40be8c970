"""A thousand requests at once: how many calls to Kombo they are, and what each gets."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

import httpx
import pytest

from kombo_embed import Event
from kombo_embed.sandbox import Sandbox
from tests.fakes import PASS, FlakyTransport, HeldTransport, respond
from tests.support import ManualClock, eventually, make_host, minted, person, running, webhook_request

pytestmark = pytest.mark.integration

ADA = person("ada@acme")
BURST = 1000
CREATED = {"id": "personio:1", "tool": "personio", "end_user": {"origin_id": "acme"}}
Record = Callable[[str, object], None]


async def burst(client: httpx.AsyncClient, count: int = BURST) -> list[asyncio.Task[httpx.Response]]:
    """Send requests of one person at once."""
    sent = client.post
    return [asyncio.create_task(sent("/kombo/links", headers=ADA, json={})) for _ in range(count)]


async def test_a_thousand_first_requests_are_one_call(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, record_property: Record
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        responses = await asyncio.gather(*await burst(client))
    assert {response.status_code for response in responses} == {200}
    assert len({response.json()["link"] for response in responses}) == 1
    assert minted(sandbox) == 1
    record_property("figure", "1,000 requests: 1 call")


async def test_nine_hundred_and_ninety_nine_get_the_link_of_the_one_who_left(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, record_property: Record
) -> None:
    held = HeldTransport(kombo)
    app, _ = make_host(held)
    async with running(app) as client:
        first, *others = await burst(client)
        await held.reached()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        held.release()
        responses = await asyncio.gather(*others)
    assert {response.status_code for response in responses} == {200}
    assert minted(sandbox) == 1
    record_property("figure", "1 call, 999 of 999 answered")


async def test_a_failure_reaches_a_thousand_waiters_and_is_forgotten(
    sandbox: Sandbox,
    kombo: httpx.AsyncBaseTransport,
    caplog: pytest.LogCaptureFixture,
    record_property: Record,
) -> None:
    held = HeldTransport(FlakyTransport(kombo, respond(403)))
    app, _ = make_host(held)
    async with running(app) as client:
        waiting = await burst(client)
        await held.reached()
        held.release()
        responses = await asyncio.gather(*waiting)
        assert {(response.status_code, response.json()["code"]) for response in responses} == {
            (502, "kombo_rejected")
        }
        assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 200
    gc.collect()
    assert (held.calls, minted(sandbox)) == (2, 1)
    assert [record for record in caplog.records if record.name == "asyncio"] == []
    record_property("figure", "1 call, the same error 1,000 times, then a new call")


async def test_a_half_open_circuit_lets_one_of_a_thousand_requests_pass(
    kombo: httpx.AsyncBaseTransport, record_property: Record
) -> None:
    clock = ManualClock()
    flaky = FlakyTransport(kombo, then=respond(500))
    held = HeldTransport(flaky, held=False)
    app, _ = make_host(held, clock=clock)
    async with running(app) as client:

        async def request_link(number: int) -> httpx.Response:
            return await client.post("/kombo/links", headers=person(f"p{number}@acme"), json={})

        for number in range(20):
            await request_link(number)
        opened_after = held.calls
        assert opened_after < 20
        clock.advance(60)
        held.hold()
        probing = [asyncio.create_task(request_link(number)) for number in range(100, 100 + BURST)]
        await held.reached()
        await eventually(lambda: sum(task.done() for task in probing) == BURST - 1)
        assert held.calls == opened_after + 1
        flaky.then = PASS
        held.release()
        responses = await asyncio.gather(*probing)
    statuses = [response.status_code for response in responses]
    assert (statuses.count(200), statuses.count(503)) == (1, BURST - 1)
    record_property("figure", f"1 call of {BURST:,} requests; opened after {opened_after} calls")


async def test_an_event_that_arrives_a_hundred_times_at_once_has_one_effect(
    kombo: httpx.AsyncBaseTransport, record_property: Record
) -> None:
    app, embed = make_host(kombo)
    events: list[Event] = []
    embed.on("integration.connected")(events.append)
    async with running(app) as client:
        request = webhook_request("event-1", "integration-created", CREATED)
        responses = await asyncio.gather(*(client.post("/kombo/webhooks", **request) for _ in range(100)))
        assert {response.status_code for response in responses} == {204}
        assert len(await embed.integrations("acme")) == 1
        await eventually(lambda: bool(events))
        later = webhook_request("event-2", "sync-finished", {"integration_id": "personio:1"})
        assert (await client.post("/kombo/webhooks", **later)).status_code == 204
    assert len(events) == 1
    record_property("figure", "100 deliveries at once: 1 effect")
