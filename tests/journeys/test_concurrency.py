from __future__ import annotations

import asyncio
import sqlite3
from contextlib import AsyncExitStack

import httpx

from kombo_embed import Event
from kombo_embed.sandbox import Sandbox
from tests.support import (
    ManualClock,
    deliver_webhooks,
    eventually,
    make_host,
    minted,
    person,
    running,
)

ADA, GRACE = person("ada@acme"), person("grace@acme")


class HeldTransport(httpx.AsyncBaseTransport):
    """Holds every call to Kombo until it is opened."""

    def __init__(self, kombo: httpx.AsyncBaseTransport) -> None:
        self._kombo = kombo
        self.open = asyncio.Event()
        self.reached = asyncio.Event()
        self.calls = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        self.reached.set()
        await self.open.wait()
        return await self._kombo.handle_async_request(request)


async def test_five_hundred_first_requests_at_once_are_one_call_to_kombo(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    gate = HeldTransport(kombo)
    app, _ = make_host(gate)
    async with running(app) as client:
        asked = [asyncio.create_task(client.post("/kombo/links", headers=ADA, json={})) for _ in range(500)]
        await gate.reached.wait()
        gate.open.set()
        answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["link"] for answer in answers}) == 1
    statuses = [answer.headers["cache-status"] for answer in answers]
    assert statuses.count("kombo-embed; fwd=uri-miss; stored") == 1
    assert minted(sandbox) == 1


async def test_the_first_caller_hanging_up_changes_nothing_for_the_rest(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    gate = HeldTransport(kombo)
    app, _ = make_host(gate)
    async with running(app) as client:
        first = asyncio.create_task(client.post("/kombo/links", headers=ADA, json={}))
        await gate.reached.wait()
        rest = [asyncio.create_task(client.post("/kombo/links", headers=ADA, json={})) for _ in range(20)]
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        gate.open.set()
        answers = await asyncio.gather(*rest)
    assert first.cancelled()
    assert {answer.status_code for answer in answers} == {200}
    assert minted(sandbox) == 1


async def test_a_failure_reaches_everybody_who_waits_and_is_not_kept(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    class Flaky(HeldTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if self.calls < 3:  # each of the attempts of one call
                self.calls += 1
                raise httpx.ConnectError("refused")
            return await self._kombo.handle_async_request(request)

    app, _ = make_host(Flaky(kombo))
    async with running(app) as client:
        answers = await asyncio.gather(
            *(client.post("/kombo/links", headers=ADA, json={}) for _ in range(50))
        )
        assert {answer.json()["code"] for answer in answers} == {"kombo_unavailable"}
        assert {answer.headers["retry-after"] for answer in answers} == {"5"}
        assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 200
    assert minted(sandbox) == 1


async def test_fresh_replaces_the_cached_link_and_joins_a_running_mint(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        old = await client.post("/kombo/links", headers=ADA, json={})
        fresh = await asyncio.gather(
            *(client.post("/kombo/links", headers=ADA, json={"fresh": True}) for _ in range(10))
        )
        assert len({answer.json()["link"] for answer in fresh}) == 1
        assert fresh[0].json()["link"] != old.json()["link"]
        cached = await client.post("/kombo/links", headers=ADA, json={})
        assert cached.json() == fresh[0].json()
    assert minted(sandbox) == 2


async def test_a_link_minted_while_its_organisation_completes_is_not_kept(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    gate = HeldTransport(kombo)
    app, _ = make_host(gate)
    async with running(app) as client:
        gate.open.set()
        link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        gate.open.clear()
        gate.reached.clear()
        minting = asyncio.create_task(client.post("/kombo/links", headers=GRACE, json={}))
        await gate.reached.wait()
        # The webhook is applied while the link is being minted.
        deliver_webhooks(sandbox, app)
        await sandbox.complete(link, "hibob")
        await sandbox.settle()
        gate.open.set()
        await minting
    assert flow.activation_token
    # Ada's, Grace's dropped one, and the one that replaced it.
    assert minted(sandbox) == 3


async def test_a_link_is_replaced_when_less_than_the_margin_is_left(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    clock = ManualClock()
    app, _ = make_host(kombo, clock=clock)
    async with running(app) as client:
        first = await client.post("/kombo/links", headers=ADA, json={})
        clock.advance(3300)
        at_the_margin = await client.post("/kombo/links", headers=ADA, json={})
        assert at_the_margin.headers["cache-status"] == "kombo-embed; hit; ttl=300"
        clock.advance(1)
        later = await client.post("/kombo/links", headers=ADA, json={})
        assert later.headers["cache-status"] == "kombo-embed; fwd=uri-miss; stored"
    assert at_the_margin.json() == first.json()
    assert later.json()["link"] != first.json()["link"]
    assert minted(sandbox) == 2


async def test_while_kombo_is_down_a_link_that_is_still_valid_helps_out(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    class Down(HeldTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if self.calls:
                raise httpx.ConnectError("refused")
            self.calls += 1
            return await self._kombo.handle_async_request(request)

    clock = ManualClock()
    app, _ = make_host(Down(kombo), clock=clock)
    async with running(app) as client:
        first = await client.post("/kombo/links", headers=ADA, json={})
        clock.advance(3400)
        helped = await client.post("/kombo/links", headers=ADA, json={})
        assert helped.json() == first.json()
        assert helped.headers["cache-status"] == "kombo-embed; hit; ttl=200; detail=kombo-unavailable"
        clock.advance(200)
        assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 503


async def test_a_hundred_completions_of_one_token_in_three_processes_are_one_record(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    heard: list[Event] = []
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(3):
            # Each has a connection and a single-flight of its own; what they share is the database.
            app, embed = make_host(kombo)
            embed.on("integration.connected")(heard.append)
            clients.append(await stack.enter_async_context(running(app)))
        link = (await clients[0].post("/kombo/links", headers=ADA, json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        token = {"activation_token": flow.activation_token}
        answers = await asyncio.gather(
            *(clients[n % 3].post("/kombo/completions", headers=ADA, json=token) for n in range(100))
        )
        assert sorted(answer.status_code for answer in answers) == [200] * 99 + [201]
        assert len({answer.json()["integration"]["id"] for answer in answers}) == 1
        await eventually(lambda: len(heard) == 1)
    with sqlite3.connect("kombo_embed.db") as database:
        records = "select count(*) from kombo_embed_integrations"
        assert database.execute(records).fetchone() == (1,)
        told = "select count(*) from kombo_embed_outbox where type = 'integration.connected'"
        assert database.execute(told).fetchone() == (1,)
