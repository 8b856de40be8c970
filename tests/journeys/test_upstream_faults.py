"""All that Kombo, or the way to it, can do wrong: what the browser is told, and what it costs Kombo."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.support import (
    LogRecorder,
    ManualClock,
    exchanged,
    make_host,
    minted,
    order_fault,
    person,
    running,
)

ADA = person("ada@acme")
ALWAYS = 100
FAR = "Wed, 21 Oct 2099 07:28:00 GMT"

FAULTS: list[tuple[str, dict[str, Any], tuple[int, str, str | None, int]]] = [
    # mode, more of the order, (status, code, Retry-After, calls)
    ("rate_limited", {"retry_after": "30"}, (503, "kombo_rate_limited", "30", 1)),
    ("rate_limited", {"retry_after": "-1"}, (503, "kombo_rate_limited", "1", 1)),
    ("rate_limited", {"retry_after": "1000000000"}, (503, "kombo_rate_limited", "3600", 1)),
    (
        "rate_limited",
        {"retry_after": "Wed, 21 Oct 2099 07:28:00 GMT"},
        (503, "kombo_rate_limited", "3600", 1),
    ),
    ("unauthorized", {}, (502, "kombo_rejected", None, 1)),
    ("input_invalid", {}, (502, "kombo_rejected", None, 1)),
    ("unknown_code", {}, (502, "kombo_rejected", None, 1)),
    ("null_code", {}, (502, "kombo_rejected", None, 1)),
    ("html_503", {}, (503, "kombo_unavailable", "5", 3)),
    ("text_502", {}, (503, "kombo_unavailable", "5", 3)),
    ("empty_500", {}, (503, "kombo_unavailable", "5", 1)),
    ("foreign_json", {}, (502, "kombo_invalid_response", None, 1)),
    ("foreign_json", {"status": 403}, (502, "kombo_rejected", None, 1)),
    ("redirect", {"location": "https://evil.example/"}, (502, "kombo_invalid_response", None, 1)),
    ("drop", {}, (503, "kombo_unavailable", "5", 3)),
]


@pytest.mark.parametrize(("mode", "more", "expected"), FAULTS)
async def test_a_fault_is_told_in_our_words_costs_few_calls_and_is_not_kept(
    mode: str,
    more: dict[str, Any],
    expected: tuple[int, str, str | None, int],
    sandbox: Sandbox,
    kombo: httpx.AsyncBaseTransport,
) -> None:
    clock = ManualClock()
    app, _ = make_host(kombo, clock=clock)
    async with running(app) as client:
        await order_fault(sandbox, "create-link", mode, ALWAYS, **more)
        answer = await client.post("/kombo/links", headers=ADA, json={})
        told = answer.status_code, answer.json()["code"], answer.headers.get("retry-after")
        assert (*told, minted(sandbox)) == expected
        assert answer.headers["content-type"] == "application/problem+json"
        for theirs in ("ordered", "nginx", "Bad Gateway", "evil", "ks_dev", "ada@", "KOMBO_"):
            assert theirs not in answer.text
        sandbox.reset()
        clock.advance(3601)
        assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 200


async def test_kombos_own_code_is_told_where_it_is_one(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        await order_fault(sandbox, "create-link", "unauthorized")
        refused = await client.post("/kombo/links", headers=ADA, json={})
        assert refused.json()["kombo_code"] == "PLATFORM.AUTHENTICATION_INVALID"
        await order_fault(sandbox, "create-link", "null_code")
        assert "kombo_code" not in (await client.post("/kombo/links", headers=ADA, json={})).json()


async def test_what_kombo_does_not_accept_of_the_browsers_choice_is_the_browsers_mistake(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        await order_fault(sandbox, "create-link", "input_invalid")
        answer = await client.post("/kombo/links", headers=ADA, json={"integration_tool": "not_a_tool"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [error["field"] for error in answer.json()["errors"]] == ["integration_tool"]


@pytest.mark.parametrize("mode", ["html_503", "text_502", "drop"])
async def test_a_fault_that_passes_is_not_noticed_by_the_browser(
    mode: str, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, log: LogRecorder
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        await order_fault(sandbox, "create-link", mode, 2)
        assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 200
    assert minted(sandbox) == 3
    assert "stamina" not in log.text()


@pytest.mark.parametrize(
    ("mode", "status", "code"),
    [
        ("unknown_code", 422, "activation_rejected"),
        ("null_code", 422, "activation_rejected"),
        ("input_invalid", 422, "activation_rejected"),
        ("unauthorized", 502, "kombo_rejected"),
        ("empty_500", 503, "kombo_unavailable"),
        ("foreign_json", 502, "kombo_invalid_response"),
        ("redirect", 502, "kombo_invalid_response"),
    ],
)
async def test_a_completion_that_kombo_spoils_records_nothing_and_can_be_tried_again(
    mode: str, status: int, code: str, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, embed = make_host(kombo)
    async with running(app) as client:
        link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        token = {"activation_token": flow.activation_token}
        await order_fault(sandbox, "integration-by-token", mode)
        spoilt = await client.post("/kombo/completions", headers=ADA, json=token)
        assert (spoilt.status_code, spoilt.json()["code"]) == (status, code)
        assert await embed.integrations("acme") == []
        assert (await client.post("/kombo/completions", headers=ADA, json=token)).status_code == 201
    assert exchanged(sandbox) == 2


async def test_after_failures_in_a_row_one_probe_at_a_time_asks_and_cached_links_are_served(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    clock = ManualClock()
    app, _ = make_host(kombo, clock=clock)
    async with running(app) as client:

        async def ask(number: int) -> httpx.Response:
            return await client.post("/kombo/links", headers=person(f"p{number}@acme"), json={})

        assert (await ask(0)).status_code == 200
        await order_fault(sandbox, "create-link", "html_503", ALWAYS)
        for number in range(1, 4):
            assert (await ask(number)).status_code == 503
        closed = minted(sandbox)
        herd = await asyncio.gather(*(ask(number) for number in range(100, 200)))
        assert {answer.json()["code"] for answer in herd} == {"kombo_unavailable"}
        assert {answer.headers["retry-after"] for answer in herd} == {"1"}
        assert minted(sandbox) == closed
        assert (await ask(0)).headers["cache-status"].startswith("kombo-embed; hit")

        clock.advance(1.1)
        herd = await asyncio.gather(*(ask(number) for number in range(200, 300)))
        assert {answer.status_code for answer in herd} == {503}
        assert minted(sandbox) == closed + 1

        sandbox.reset()
        clock.advance(60)
        assert (await ask(400)).status_code == 200
        assert {answer.status_code for answer in await asyncio.gather(*map(ask, range(500, 510)))} == {200}


async def test_while_kombo_says_wait_nobody_asks(sandbox: Sandbox, kombo: httpx.AsyncBaseTransport) -> None:
    clock = ManualClock()
    app, _ = make_host(kombo, clock=clock)
    async with running(app) as client:
        await order_fault(sandbox, "create-link", "rate_limited", retry_after="30")
        assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 503
        clock.advance(20)
        waiting = await client.post("/kombo/links", headers=ADA, json={})
        assert (waiting.json()["code"], waiting.headers["retry-after"]) == ("kombo_rate_limited", "10")
        completion = await client.post("/kombo/completions", headers=ADA, json={"activation_token": "t"})
        assert completion.json()["code"] == "kombo_rate_limited"
        assert (minted(sandbox), exchanged(sandbox)) == (1, 0)
        clock.advance(10)
        assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 200
