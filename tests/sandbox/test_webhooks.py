"""Webhooks: their signature, their shape, and each webhook mode."""

import asyncio
import base64
import hashlib
import hmac
import json

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from kombo_embed.sandbox.webhooks import sign
from tests.sandbox.conftest import WEBHOOK_SECRET, Mint, Receiver

CREATED = "integration-created"
CHANGED = "integration-state-changed"


def signed_rightly(request: httpx.Request) -> bool:
    digest = hmac.new(WEBHOOK_SECRET.encode(), request.content, hashlib.sha256).digest()
    wanted = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return request.headers["X-Kombo-Signature"] == wanted


async def deliveries(api: httpx.AsyncClient) -> list[tuple[str, int]]:
    report = (await api.get("/_sandbox/state")).json()
    return [(delivery["status"], delivery["attempts"]) for delivery in report["deliveries"]]


async def set_mode(api: httpx.AsyncClient, mode: str) -> None:
    response = await api.post("/_sandbox/settings", json={"webhook_mode": mode})
    assert response.json()["webhook_mode"] == mode


def test_the_signature_is_that_of_the_published_vector() -> None:
    body = b'{"id":"5gjAtURLPbnTiwgkaBfiA3WJ","type":"integration-created"}'
    assert sign(body, "whsec_test") == "y3V5mTzLB-5kYrrx96kor7KMLdgbf6y0iGLSRb3Mwmc"


async def test_a_completed_flow_sends_a_signed_and_indented_event(
    sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    completion = await sandbox.complete(await mint(end_user_origin_id="acme-1", integration_category="ATS"))
    await sandbox.settle()
    (request,) = receiver.requests
    (event,) = receiver.events()
    assert signed_rightly(request)
    assert request.headers["Content-Type"] == "application/json"
    assert request.content == json.dumps(event, indent=2).encode()
    assert (len(event["id"]), event["type"]) == (24, CREATED)
    assert event["data"] == {
        "id": completion.integration_id,
        "tool": "personio",
        "category": "ATS",
        "end_user": {
            "origin_id": "acme-1",
            "creator_email": "ada@acme.example",
            "organization_name": "Acme",
        },
    }


async def test_a_failed_flow_sends_an_event_without_an_integration_and_may_still_succeed(
    sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    link = await mint(integration_tool="hibob")
    await sandbox.fail(link)
    await sandbox.complete(link)
    await sandbox.settle()
    failed = receiver.events()[0]["data"]
    assert receiver.types() == ["connection-flow-failed", CREATED]
    assert failed.keys() == {"integration_tool", "integration_category", "end_user", "log_url"}
    assert failed["integration_tool"] == "hibob"


async def test_each_change_of_an_integration_sends_an_event(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    completion = await sandbox.complete(await mint(enable_field_mapping=True))
    path = f"/v1/integrations/{completion.integration_id}"
    change = {"integration_id": completion.integration_id, "state": "INVALID"}
    await api.post("/_sandbox/state-change", json=change)
    for act in ("relink", "setup-link"):
        link = await api.post(f"{path}/{act}", json={"link_type": "EMBEDDED"})
        await sandbox.complete(link.json()["data"]["link"])
    await api.put(f"{path}/enabled", json={"value": False})
    await api.request("DELETE", path, json={})
    await sandbox.settle()
    states = [(event["data"].get("state"), event["data"].get("setup_status")) for event in receiver.events()]
    assert receiver.types() == [CREATED, *[CHANGED] * 4, "integration-deleted"]
    assert states[1:5] == [
        ("INVALID", "INCOMPLETE"),
        ("ACTIVE", "INCOMPLETE"),
        ("ACTIVE", "COMPLETED"),
        ("INACTIVE", "COMPLETED"),
    ]
    assert receiver.events()[-1]["data"]["deleted_at"].endswith("Z")


async def test_enabling_an_enabled_integration_sends_no_event(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    completion = await sandbox.complete(await mint())
    await api.put(f"/v1/integrations/{completion.integration_id}/enabled", json={"value": True})
    await sandbox.settle()
    assert receiver.types() == [CREATED]


async def test_a_rejected_webhook_is_retried_with_backoff(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, receiver: Receiver, pauses: list[float]
) -> None:
    receiver.statuses = [500, httpx.ConnectError("refused"), 302]
    await sandbox.complete(await mint())
    await sandbox.settle()
    assert len({request.content for request in receiver.requests}) == 1
    assert pauses == sorted(pauses)
    assert await deliveries(api) == [("delivered", 4)]


async def test_a_webhook_fails_after_four_attempts(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    receiver.statuses = [RuntimeError("a bug of the receiving app")] * 4
    await sandbox.complete(await mint())
    await sandbox.settle()
    assert await deliveries(api) == [("failed", 4)]


async def test_a_slow_receiver_does_not_delay_the_flow(sandbox: Sandbox, mint: Mint) -> None:
    received, released = asyncio.Event(), asyncio.Event()

    async def slowly(_request: httpx.Request) -> httpx.Response:
        received.set()
        await released.wait()
        return httpx.Response(204)

    sandbox.webhook_transport = httpx.MockTransport(slowly)
    await sandbox.complete(await mint())
    await received.wait()
    released.set()
    await sandbox.settle()


async def test_closing_cancels_deliveries_in_progress(sandbox: Sandbox, mint: Mint) -> None:
    received = asyncio.Event()

    async def never(_request: httpx.Request) -> httpx.Response:
        received.set()
        await asyncio.Event().wait()
        raise AssertionError

    sandbox.webhook_transport = httpx.MockTransport(never)
    await sandbox.complete(await mint())
    await received.wait()
    await sandbox.aclose()
    await sandbox.settle()


async def test_events_recorded_without_an_address_can_be_replayed(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    address, sandbox.webhook_url = sandbox.webhook_url, None
    await sandbox.complete(await mint())
    await sandbox.settle()
    assert await deliveries(api) == [("not_configured", 0)]
    sandbox.webhook_url = address
    await api.post("/_sandbox/webhooks/replay")
    await sandbox.settle()
    assert receiver.types() == [CREATED]


async def test_without_a_secret_webhooks_carry_no_signature(
    sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    sandbox.webhook_secret = None
    await sandbox.complete(await mint())
    await sandbox.settle()
    assert "X-Kombo-Signature" not in receiver.requests[0].headers


async def test_duplicate_mode_sends_the_same_bytes_twice(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    await set_mode(api, "duplicate")
    await sandbox.complete(await mint())
    await sandbox.settle()
    first, second = receiver.requests
    assert first.content == second.content


async def test_one_completion_can_send_its_event_twice(
    sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    await sandbox.complete(await mint(), duplicate=True)
    await sandbox.settle()
    assert receiver.types() == [CREATED, CREATED]


async def test_reordered_mode_swaps_two_events(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    await set_mode(api, "reordered")
    completion = await sandbox.complete(await mint())
    await api.request("DELETE", f"/v1/integrations/{completion.integration_id}", json={})
    await sandbox.settle()
    assert receiver.types() == ["integration-deleted", CREATED]


async def test_leaving_reordered_mode_sends_the_held_event(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    await set_mode(api, "reordered")
    await sandbox.complete(await mint())
    assert await deliveries(api) == [("held", 0)]
    await set_mode(api, "normal")
    await sandbox.settle()
    assert receiver.types() == [CREATED]


async def test_dropped_events_are_sent_only_by_a_replay(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    await set_mode(api, "dropped")
    await sandbox.complete(await mint())
    await sandbox.settle()
    assert (receiver.requests, await deliveries(api)) == ([], [("dropped", 0)])
    response = await api.post("/_sandbox/webhooks/replay", json={"type": CREATED})
    await sandbox.settle()
    assert (response.json(), receiver.types()) == ({"replayed": 1}, [CREATED])
    assert signed_rightly(receiver.requests[0])


async def test_a_bad_signature_has_the_form_of_a_valid_one(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    await set_mode(api, "bad_signature")
    await sandbox.complete(await mint())
    await sandbox.settle()
    assert len(receiver.requests[0].headers["X-Kombo-Signature"]) == 43
    assert not signed_rightly(receiver.requests[0])


async def test_a_replay_sends_each_event_once_also_backwards(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    await sandbox.complete(await mint(), duplicate=True)
    await sandbox.fail(await mint())
    await sandbox.settle()
    receiver.requests.clear()
    await api.post("/_sandbox/webhooks/replay", json={"backwards": True})
    await sandbox.settle()
    assert receiver.types() == ["connection-flow-failed", CREATED]


async def test_one_event_is_replayed_by_its_id(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    for _ in range(2):
        await sandbox.complete(await mint())
    await sandbox.settle()
    wanted = receiver.events()[1]["id"]
    await api.post("/_sandbox/webhooks/replay", json={"event_id": wanted})
    await sandbox.settle()
    assert [event["id"] for event in receiver.events()[2:]] == [wanted]


@pytest.mark.parametrize("body", [{}, {"type": "data-changed", "data": {"changed_models": []}}])
async def test_an_event_of_any_type_can_be_sent(
    api: httpx.AsyncClient, sandbox: Sandbox, receiver: Receiver, body: dict[str, object]
) -> None:
    response = await api.post("/_sandbox/webhooks/send", json=body)
    await sandbox.settle()
    (event,) = receiver.events()
    assert response.json() == {"event_id": event["id"], "type": event["type"]}
    assert event["type"] == body.get("type", "not-invented-yet")
    assert event["data"] == body.get("data", {})
    assert signed_rightly(receiver.requests[0])


async def test_webhook_first_returns_after_the_delivery(
    sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    await sandbox.complete(await mint(), order="webhook_first")
    assert receiver.types() == [CREATED]


async def test_browser_first_holds_the_event_until_the_exchange(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    completion = await sandbox.complete(await mint(), order="browser_first")
    assert await deliveries(api) == [("held", 0)]
    await api.get(f"/v1/connect/integration-by-token/{completion.activation_token}")
    assert await deliveries(api) != [("held", 0)]
    await sandbox.settle()
    assert receiver.types() == [CREATED]
