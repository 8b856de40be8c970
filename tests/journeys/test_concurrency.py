"""Concurrent requests for one link or one completion, in one process."""

from __future__ import annotations

import asyncio

import httpx

from kombo_embed.sandbox import Sandbox
from tests.fakes import FlakyTransport, HeldTransport
from tests.support import ManualClock, deliver_webhooks, exchanged, make_host, minted, person, running

ADA, GRACE = person("ada@acme"), person("grace@acme")


async def test_five_hundred_concurrent_first_requests_share_one_mint(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    held = HeldTransport(kombo)
    app, _ = make_host(held)
    async with running(app) as client:
        pending = [asyncio.create_task(client.post("/kombo/links", headers=ADA, json={})) for _ in range(500)]
        await held.reached()
        held.release()
        responses = await asyncio.gather(*pending)
    assert {response.status_code for response in responses} == {200}
    assert len({response.json()["link"] for response in responses}) == 1
    statuses = [response.headers["cache-status"] for response in responses]
    assert statuses.count("kombo-embed; fwd=uri-miss; stored") == 1
    assert minted(sandbox) == 1


async def test_a_mint_continues_for_the_other_callers_when_the_first_disconnects(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    held = HeldTransport(kombo)
    app, _ = make_host(held)
    async with running(app) as client:
        first = asyncio.create_task(client.post("/kombo/links", headers=ADA, json={}))
        await held.reached()
        others = [asyncio.create_task(client.post("/kombo/links", headers=ADA, json={})) for _ in range(20)]
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        held.release()
        responses = await asyncio.gather(*others)
    assert first.cancelled()
    assert {response.status_code for response in responses} == {200}
    assert minted(sandbox) == 1


async def test_a_failed_mint_reaches_every_waiter_and_is_not_cached(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    refused = httpx.ConnectError("refused")
    app, _ = make_host(FlakyTransport(kombo, *[refused] * 3))  # each attempt of one call
    async with running(app) as client:
        responses = await asyncio.gather(
            *(client.post("/kombo/links", headers=ADA, json={}) for _ in range(50))
        )
        assert {response.json()["code"] for response in responses} == {"kombo_unavailable"}
        assert {response.headers["retry-after"] for response in responses} == {"5"}
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
        assert len({response.json()["link"] for response in fresh}) == 1
        assert fresh[0].json()["link"] != old.json()["link"]
        cached = await client.post("/kombo/links", headers=ADA, json={})
        assert cached.json() == fresh[0].json()
    assert minted(sandbox) == 2


async def test_a_link_whose_origin_id_is_invalidated_during_its_mint_is_replaced(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    held = HeldTransport(kombo, held=False)
    app, _ = make_host(held)
    async with running(app) as client:
        link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        held.hold()
        minting = asyncio.create_task(client.post("/kombo/links", headers=GRACE, json={}))
        await held.reached()
        deliver_webhooks(sandbox, app)
        await sandbox.complete(link, "hibob")
        await sandbox.settle()
        held.release()
        await minting
    assert minted(sandbox) == 3  # Ada's, Grace's invalidated one, and its replacement


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


async def test_a_valid_link_below_the_margin_is_issued_while_kombo_is_down(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    clock = ManualClock()
    flaky = FlakyTransport(kombo)
    app, _ = make_host(flaky, clock=clock)
    async with running(app) as client:
        first = await client.post("/kombo/links", headers=ADA, json={})
        flaky.then = httpx.ConnectError("refused")
        clock.advance(3400)
        stale = await client.post("/kombo/links", headers=ADA, json={})
        assert stale.json() == first.json()
        assert stale.headers["cache-status"] == "kombo-embed; hit; ttl=200; detail=kombo-unavailable"
        clock.advance(200)
        assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 503


async def test_a_link_that_is_invalidated_while_kombo_is_down_is_not_issued(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    clock = ManualClock()
    flaky = FlakyTransport(kombo)
    held = HeldTransport(flaky, held=False)
    app, _ = make_host(held, clock=clock)
    async with running(app) as client:
        link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        flaky.then = httpx.ConnectError("refused")
        held.hold()
        clock.advance(3400)
        minting = asyncio.create_task(client.post("/kombo/links", headers=ADA, json={}))
        await held.reached()
        deliver_webhooks(sandbox, app)
        await sandbox.complete(link, "personio")
        await sandbox.settle()
        held.release()
        assert (await minting).status_code == 503


async def test_a_hundred_concurrent_completions_of_one_token_exchange_it_once(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, embed = make_host(kombo)
    async with running(app) as client:
        link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        token = {"activation_token": flow.activation_token}
        responses = await asyncio.gather(
            *(client.post("/kombo/completions", headers=ADA, json=token) for _ in range(100))
        )
        assert sorted(response.status_code for response in responses) == [200] * 99 + [201]
        assert len(await embed.integrations("acme")) == 1
    assert exchanged(sandbox) == 1
