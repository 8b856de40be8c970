"""A prefetch fills the link cache before the click, and hands out no link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.fakes import HeldTransport
from tests.redis_server import RedisServer
from tests.store.samples import opened_store
from tests.support import (
    SANDBOX_URL,
    SQLITE_URL,
    ManualClock,
    make_host,
    minted,
    order_fault,
    person,
    running,
)

ADA, GRACE = person("ada@acme"), person("grace@acme")
PREFETCH = {"prefetch": True}
HOUR = 3600


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def post(
    client: httpx.AsyncClient, body: Mapping[str, object], who: dict[str, str] = ADA
) -> httpx.Response:
    response = await client.post("/kombo/links", json=body, headers=who)
    assert response.status_code == 200, response.text
    return response


async def abandoned(clock: ManualClock) -> int:
    """Return how many flows are reported as abandoned once all links have expired."""
    clock.advance(2 * HOUR)
    async with opened_store(SQLITE_URL, clock=clock) as store:
        return (await store.close_expired_links(limit=100)).abandoned


async def test_it_answers_with_the_end_and_the_origin_of_a_link_that_the_next_request_gets(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        warmed = await post(client, PREFETCH)
        clicked = await post(client, {})
        again = await post(client, PREFETCH)
    assert warmed.json() == {"expires_at": clicked.json()["expires_at"], "link_origin": SANDBOX_URL}
    assert again.json() == warmed.json()
    assert set(clicked.json()) == {"link", "expires_at"}
    assert warmed.headers["cache-status"] == "kombo-embed; fwd=uri-miss; stored"
    assert clicked.headers["cache-status"].startswith("kombo-embed; hit; ttl=")
    assert warmed.headers["cache-control"] == "no-store"
    assert clicked.json()["link"] not in warmed.text
    assert minted(sandbox) == 1


async def test_it_warms_the_cache_only_for_the_same_person_and_choice(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        await post(client, PREFETCH | {"integration_tool": "personio"})
        await post(client, {"integration_tool": "personio"})
        assert minted(sandbox) == 1
        await post(client, {"integration_tool": "hibob"})
        await post(client, {"integration_tool": "personio"}, GRACE)
    assert minted(sandbox) == 3


async def test_a_link_that_was_only_prefetched_is_not_an_abandoned_flow(
    kombo: httpx.AsyncBaseTransport, clock: ManualClock
) -> None:
    app, _ = make_host(kombo, clock=clock)
    async with running(app) as client:
        for _ in range(2):
            await post(client, PREFETCH)
    assert await abandoned(clock) == 0


@pytest.mark.parametrize("clicks", [1, 3])
async def test_a_prefetched_link_that_was_handed_out_is_one_abandoned_flow(
    kombo: httpx.AsyncBaseTransport, clock: ManualClock, clicks: int
) -> None:
    app, _ = make_host(kombo, clock=clock)
    async with running(app) as client:
        await post(client, PREFETCH)
        for _ in range(clicks):
            assert set((await post(client, {})).json()) == {"link", "expires_at"}
            await post(client, PREFETCH)
    assert await abandoned(clock) == 1


async def test_a_prefetch_after_a_click_leaves_it_an_abandoned_flow(
    kombo: httpx.AsyncBaseTransport, clock: ManualClock
) -> None:
    app, _ = make_host(kombo, clock=clock)
    async with running(app) as client:
        await post(client, {})
        await post(client, PREFETCH)
    assert await abandoned(clock) == 1


async def test_a_click_joins_a_prefetch_in_progress(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, clock: ManualClock
) -> None:
    held = HeldTransport(kombo, path="create-link")
    app, _ = make_host(held, clock=clock)
    async with running(app) as client:
        warming = asyncio.create_task(post(client, PREFETCH))
        await held.reached()
        clicking = asyncio.create_task(post(client, {}))
        held.release()
        warmed, clicked = await asyncio.gather(warming, clicking)
    assert set(warmed.json()) == {"expires_at", "link_origin"}
    assert set(clicked.json()) == {"link", "expires_at"}
    assert minted(sandbox) == 1
    assert await abandoned(clock) == 1


async def test_another_worker_that_hands_out_the_link_over_redis_removes_the_mark(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, clock: ManualClock
) -> None:
    async with _workers(kombo, redis_server, clock) as (first, second):
        warmed = await post(first, PREFETCH)
        clicked = await post(second, {})
    assert clicked.json()["expires_at"] == warmed.json()["expires_at"]
    assert set(clicked.json()) == {"link", "expires_at"}
    assert minted(sandbox) == 1
    assert await abandoned(clock) == 1


@asynccontextmanager
async def _workers(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, clock: ManualClock
) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    apps = [make_host(kombo, clock=clock, redis_url=redis_server.url)[0] for _ in range(2)]
    async with running(apps[0]) as first, running(apps[1]) as second:
        yield first, second


async def test_it_is_refused_as_a_click_is(sandbox: Sandbox, kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo, link_rate="2/minute")
    async with running(app) as client:
        assert (await client.post("/kombo/links", json=PREFETCH)).status_code == 401
        for tool in ("personio", "hibob"):
            await post(client, PREFETCH | {"integration_tool": tool})
        limited = await client.post(
            "/kombo/links", json=PREFETCH | {"integration_tool": "workday"}, headers=ADA
        )
        assert (limited.status_code, limited.json()["code"]) == (429, "rate_limited")
        for value in ("yes", 1, None):
            refused = await client.post("/kombo/links", json={"prefetch": value}, headers=GRACE)
            assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "prefetch")
        await order_fault(sandbox, "/v1/connect/create-link", "html_503", 5)
        assert (await client.post("/kombo/links", json=PREFETCH, headers=GRACE)).status_code == 503


async def test_it_warms_no_other_kind_of_link(kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        response = await client.post("/kombo/integrations/x/relink", json=PREFETCH, headers=ADA)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "prefetch")
