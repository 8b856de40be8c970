"""The catalogue of tools: how often Kombo is asked for it."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.support import ManualClock, make_host, order_fault, person, running

ADA = person("ada@acme")


def listed(sandbox: Sandbox) -> int:
    return sandbox.calls.get("GET /v1/tools/{category}", 0)


@pytest.mark.parametrize("status", [200, 302, 403, 404])
async def test_a_refused_list_is_not_requested_again_for_half_a_minute_however_many_ask(
    status: int, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    clock = ManualClock()
    app, _ = make_host(kombo, clock=clock)
    await order_fault(sandbox, "/tools/lms", "foreign_json", times=100, status=status)
    async with running(app) as client:
        for _ in range(2):
            calls = listed(sandbox)
            requests = (client.get("/kombo/tools?category=LMS", headers=ADA) for _ in range(10))
            one_by_one = [await client.get("/kombo/tools?category=LMS", headers=ADA) for _ in range(5)]
            for response in [*one_by_one, *await asyncio.gather(*requests)]:
                assert (response.status_code, response.json()["code"]) == (502, one_by_one[0].json()["code"])
            assert listed(sandbox) == calls + 1
            clock.advance(31)
        assert (await client.get("/kombo/tools?category=ATS", headers=ADA)).status_code == 200


async def test_the_list_is_offered_again_once_kombo_gives_it(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    clock = ManualClock()
    app, _ = make_host(kombo, clock=clock)
    await order_fault(sandbox, "/tools/hris", "foreign_json", status=403)
    async with running(app) as client:
        assert (await client.get("/kombo/tools", headers=ADA)).status_code == 502
        clock.advance(31)
        assert (await client.get("/kombo/tools", headers=ADA)).status_code == 200
