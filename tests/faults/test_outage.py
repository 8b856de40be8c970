"""Kombo fails for a minute while 200 people a second ask for their first link: on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.fakes import PASS, FlakyTransport, respond
from tests.faults.sizes import size
from tests.simulation.virtual_time import VirtualClock, VirtualLoop, virtual_time
from tests.support import make_host, person, running

pytestmark = pytest.mark.integration

OUTAGE_SECONDS = size(small=10, full=60)
REQUESTS_PER_SECOND = 200
LATENCY_SECONDS = 0.05
CACHED = person("ada@acme")
Record = Callable[[str, object], None]


class SlowTransport(httpx.AsyncBaseTransport):
    """Takes its time, so that several calls are in flight when the circuit opens."""

    def __init__(self, peer: httpx.AsyncBaseTransport) -> None:
        self._peer = peer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(LATENCY_SECONDS)
        return await self._peer.handle_async_request(request)


def test_a_minute_of_failures_costs_the_probes_and_no_cached_link(
    sandbox: Sandbox, record_property: Record
) -> None:
    flaky = FlakyTransport(httpx.ASGITransport(sandbox.app))
    with virtual_time(4) as loop:
        calls, hits = loop.run_until_complete(outage(loop, flaky))
    assert calls <= 1.1 * (5 + REQUESTS_PER_SECOND * LATENCY_SECONDS + OUTAGE_SECONDS / 30 + 6)
    figure = f"{OUTAGE_SECONDS} s, {OUTAGE_SECONDS * REQUESTS_PER_SECOND:,} people: {calls} calls, "
    record_property("figure", figure + f"0 of {hits:,} hits failed")


async def outage(loop: VirtualLoop, flaky: FlakyTransport) -> tuple[int, int]:
    """Return how often Kombo was called, and how often the cached link was returned."""
    app, _ = make_host(SlowTransport(flaky), clock=VirtualClock(loop), link_rate="100000/second")
    async with running(app) as client:
        assert (await client.post("/kombo/links", headers=CACHED, json={})).status_code == 200
        calls, hits = flaky.calls, 0
        flaky.then = respond(503)
        pending: set[asyncio.Task[httpx.Response]] = set()
        for number in range(OUTAGE_SECONDS * REQUESTS_PER_SECOND):
            who = person(f"p{number}@acme")
            pending.add(asyncio.create_task(client.post("/kombo/links", headers=who, json={})))
            if number % 20 == 0:
                response = await client.post("/kombo/links", headers=CACHED, json={})
                assert response.headers["cache-status"].startswith("kombo-embed; hit")
                hits += 1
            await asyncio.sleep(1 / REQUESTS_PER_SECOND)
            if len(pending) > 1000:
                assert {task.result().status_code for task in pending if task.done()} == {503}
                pending = {task for task in pending if not task.done()}
        responses = await asyncio.gather(*pending)
        assert {response.status_code for response in responses} == {503}
        calls = flaky.calls - calls
        flaky.then = PASS
        await asyncio.sleep(31)
        response = await client.post("/kombo/links", headers=person("late@acme"), json={})
        assert response.status_code == 200
    return calls, hits
