"""Faults of Kombo and of the network to it: the browser's response, and the number of calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.fakes import PASS, FlakyTransport, HeldTransport, RecordingTransport, respond
from tests.support import (
    LogRecorder,
    ManualClock,
    exchanged,
    make_host,
    minted,
    order_fault,
    person,
    running,
    webhook_request,
)

ADA = person("ada@acme")
ALWAYS = 100
GZIPPED = {"Content-Encoding": "gzip", "Retry-After": "30"}
FAR = "Wed, 21 Oct 2099 07:28:00 GMT"

FAULTS: list[tuple[str, dict[str, Any], tuple[int, str, str | None, int]]] = [
    # mode, options of the fault, (status, code, Retry-After, calls)
    ("rate_limited", {"retry_after": "30"}, (503, "kombo_rate_limited", "30", 1)),
    ("rate_limited", {"retry_after": "-1"}, (503, "kombo_rate_limited", "1", 1)),
    ("rate_limited", {"retry_after": "1000000000"}, (503, "kombo_rate_limited", "3600", 1)),
    ("rate_limited", {"retry_after": FAR}, (503, "kombo_rate_limited", "3600", 1)),
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


@pytest.mark.parametrize(("mode", "options", "expected"), FAULTS)
async def test_a_fault_has_a_stable_code_costs_few_calls_and_is_not_cached(
    mode: str,
    options: dict[str, Any],
    expected: tuple[int, str, str | None, int],
    sandbox: Sandbox,
    kombo: httpx.AsyncBaseTransport,
) -> None:
    clock = ManualClock()
    app, _ = make_host(kombo, clock=clock)
    async with running(app) as client:
        await order_fault(sandbox, "create-link", mode, ALWAYS, **options)
        response = await client.post("/kombo/links", headers=ADA, json={})
        result = response.status_code, response.json()["code"], response.headers.get("retry-after")
        assert (*result, minted(sandbox)) == expected
        assert response.headers["content-type"] == "application/problem+json"
        for theirs in ("ordered", "nginx", "Bad Gateway", "evil", "ks_dev", "ada@", "KOMBO_"):
            assert theirs not in response.text
        sandbox.reset()
        clock.advance(3601)
        assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 200


async def test_kombos_own_code_is_included_if_there_is_one(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        await order_fault(sandbox, "create-link", "unauthorized")
        refused = await client.post("/kombo/links", headers=ADA, json={})
        assert refused.json()["kombo_code"] == "PLATFORM.AUTHENTICATION_INVALID"
        await order_fault(sandbox, "create-link", "null_code")
        assert "kombo_code" not in (await client.post("/kombo/links", headers=ADA, json={})).json()


async def test_a_browsers_choice_that_kombo_refuses_is_an_invalid_request(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        await order_fault(sandbox, "create-link", "input_invalid")
        response = await client.post("/kombo/links", headers=ADA, json={"integration_tool": "not_a_tool"})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert [error["field"] for error in response.json()["errors"]] == ["integration_tool"]


@pytest.mark.parametrize("mode", ["html_503", "text_502", "drop"])
async def test_a_transient_fault_is_retried_and_the_browser_gets_its_link(
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
async def test_a_completion_that_fails_at_kombo_records_nothing_and_can_be_retried(
    mode: str, status: int, code: str, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, embed = make_host(kombo)
    async with running(app) as client:
        link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        token = {"activation_token": flow.activation_token}
        await order_fault(sandbox, "integration-by-token", mode)
        failed = await client.post("/kombo/completions", headers=ADA, json=token)
        assert (failed.status_code, failed.json()["code"]) == (status, code)
        assert await embed.integrations("acme") == []
        assert (await client.post("/kombo/completions", headers=ADA, json=token)).status_code == 201
    assert exchanged(sandbox) == 2


async def test_the_circuit_breaker_opens_probes_one_call_at_a_time_and_cached_links_are_issued_meanwhile(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    clock = ManualClock()
    app, _ = make_host(kombo, clock=clock)
    async with running(app) as client:

        async def request_link(number: int) -> httpx.Response:
            return await client.post("/kombo/links", headers=person(f"p{number}@acme"), json={})

        assert (await request_link(0)).status_code == 200
        await order_fault(sandbox, "create-link", "html_503", ALWAYS)
        for number in range(1, 4):
            assert (await request_link(number)).status_code == 503
        calls = minted(sandbox)
        herd = await asyncio.gather(*(request_link(number) for number in range(100, 200)))
        assert {response.json()["code"] for response in herd} == {"kombo_unavailable"}
        assert {response.headers["retry-after"] for response in herd} == {"1"}
        assert minted(sandbox) == calls
        assert (await request_link(0)).headers["cache-status"].startswith("kombo-embed; hit")

        clock.advance(1.1)
        herd = await asyncio.gather(*(request_link(number) for number in range(200, 300)))
        assert {response.status_code for response in herd} == {503}
        assert minted(sandbox) == calls + 1

        sandbox.reset()
        clock.advance(60)
        assert (await request_link(400)).status_code == 200
        responses = await asyncio.gather(*map(request_link, range(500, 510)))
        assert {response.status_code for response in responses} == {200}


async def test_kombo_is_not_called_until_its_retry_after_has_passed(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
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


async def test_concurrent_failures_count_as_one_outage_with_the_shortest_pause(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    clock = ManualClock()
    flaky = FlakyTransport(kombo, then=respond(500))
    held = HeldTransport(flaky)
    app, _ = make_host(held, clock=clock)
    async with running(app) as client:
        people = [person(f"p{number}@acme") for number in range(50)]
        pending = [asyncio.create_task(client.post("/kombo/links", headers=who, json={})) for who in people]
        await held.reached(50)
        held.release()
        await asyncio.gather(*pending)
        flaky.then = PASS
        clock.advance(1.01)
        assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 200
    assert minted(sandbox) == 1


async def test_a_late_response_does_not_end_the_cool_down_that_kombo_asked_for(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    held, clock = HeldTransport(kombo), ManualClock()
    flaky = FlakyTransport(held, PASS, then=respond(429, headers={"Retry-After": "60"}))
    app, _ = make_host(flaky, clock=clock)
    async with running(app) as client:
        slow = asyncio.create_task(client.post("/kombo/links", headers=ADA, json={}))
        await held.reached()
        assert (await client.post("/kombo/links", headers=person("b@b"), json={})).status_code == 503
        held.release()
        assert (await slow).status_code == 200
        assert (await client.post("/kombo/links", headers=person("c@c"), json={})).status_code == 503
    assert flaky.calls == 2


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (lambda _: httpx.Response(503, stream=httpx.ByteStream(b"x" * 70_000)), "kombo_unavailable"),
        (
            lambda _: httpx.Response(429, headers=GZIPPED, stream=httpx.ByteStream(b"text")),
            "kombo_rate_limited",
        ),
    ],
)
async def test_a_failure_whose_body_cannot_be_read_is_classified_by_its_status(
    outcome: Callable[[httpx.Request], httpx.Response], code: str
) -> None:
    app, _ = make_host(httpx.MockTransport(outcome))
    async with running(app) as client:
        response = await client.post("/kombo/links", headers=ADA, json={})
    assert (response.status_code, response.json()["code"]) == (503, code)


async def test_a_cookie_from_kombo_is_not_sent_with_later_calls() -> None:
    link = {"data": {"link": "https://connect.kombo.dev/v1?token=x"}}
    recording = RecordingTransport(
        httpx.MockTransport(respond(json=link, headers={"Set-Cookie": "person=ada; Path=/"}))
    )
    app, _ = make_host(recording)
    async with running(app) as client:
        for name in ("ada@acme", "alan@bletchley"):
            await client.post("/kombo/links", headers=person(name), json={})
    assert [request.headers.get("cookie") for request in recording.requests] == [None, None]


async def test_an_integration_is_never_listed_for_another_organization_that_kombo_names_later(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    data = {"id": "personio:1", "tool": "personio", "end_user_origin_id": "beta"}
    renamed = respond(json={"status": "success", "data": data})
    app, embed = make_host(FlakyTransport(kombo, then=renamed, path="integration-by-token"))
    created = {"id": "personio:1", "tool": "personio", "end_user": {"origin_id": "acme"}}
    async with running(app) as client:
        await client.post("/kombo/webhooks", **webhook_request("event-1", "integration-created", created))
        for _ in range(2):
            response = await client.post(
                "/kombo/completions", headers=person("eve@beta"), json={"activation_token": "t"}
            )
            assert (response.status_code, response.json()["code"]) == (422, "activation_rejected")
        assert len(await embed.integrations("acme")) == 1
