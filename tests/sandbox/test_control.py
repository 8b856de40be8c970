"""The controls below /_sandbox."""

import httpx
import pytest
from asgi_lifespan import LifespanManager

from kombo_embed.sandbox import Sandbox
from tests.sandbox.conftest import Mint, Receiver


async def test_a_new_sandbox_is_empty(api: httpx.AsyncClient) -> None:
    report = (await api.get("/_sandbox/state")).json()
    assert report.pop("now") == "2026-09-21T14:13:20.000Z"
    assert report.pop("settings") == {
        "activation_mode": "multi_use",
        "link_shape": "jwt",
        "unknown_tools": "accept",
        "webhook_mode": "normal",
    }
    assert report.pop("calls") == {}
    assert set(report) == {"integrations", "deleted_integrations", "links", "deliveries", "faults"}
    assert not any(report.values())


async def test_calls_are_counted_by_method_and_template(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint
) -> None:
    completion = await sandbox.complete(await mint())
    await api.get(f"/v1/connect/integration-by-token/{completion.activation_token}")
    await api.get(f"/v1/integrations/{completion.integration_id}")
    await api.get("/v1/integrations/nope", headers={"Authorization": ""})
    await api.get("/v1/unheard-of")
    assert (await api.get("/_sandbox/state")).json()["calls"] == sandbox.calls
    assert sandbox.calls == {
        "POST /v1/connect/create-link": 1,
        "GET /v1/connect/integration-by-token/{token}": 1,
        "GET /v1/integrations/{integration_id}": 2,
        "GET /v1/unheard-of": 1,
    }


async def test_one_call_completes_a_flow(api: httpx.AsyncClient, mint: Mint) -> None:
    link = await mint()
    response = await api.post("/_sandbox/complete", json={"link": link, "tool": "personio"})
    report = (await api.get("/_sandbox/state")).json()
    assert response.json().keys() == {"activation_token", "integration_id"}
    assert [entry["id"] for entry in report["integrations"]] == [response.json()["integration_id"]]
    assert [entry["link"] for entry in report["links"]] == [link]


async def test_one_call_fails_a_flow(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    await api.post("/_sandbox/fail", json={"link": await mint()})
    await sandbox.settle()
    assert receiver.types() == ["connection-flow-failed"]


async def test_advancing_the_clock_expires_links(api: httpx.AsyncClient, mint: Mint) -> None:
    link = await mint()
    assert (await api.post("/_sandbox/clock", json={"advance": 3600})).status_code == 200
    response = await api.post("/_sandbox/complete", json={"link": link})
    report = (await api.get("/_sandbox/state")).json()
    assert (response.status_code, report["links"][0]["expired"]) == (410, True)


async def test_a_reset_removes_everything(api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint) -> None:
    before = (await api.get("/_sandbox/state")).json()
    await sandbox.complete(await mint())
    await api.post("/_sandbox/settings", json={"link_shape": "opaque"})
    await api.post("/_sandbox/faults", json={"path": "*", "mode": "drop"})
    await api.post("/_sandbox/clock", json={"advance": 60})
    await api.post("/_sandbox/reset")
    assert (await api.get("/_sandbox/state")).json() == before


async def test_a_state_change_updates_the_integration(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint
) -> None:
    integration_id = (await sandbox.complete(await mint())).integration_id
    change = {"integration_id": integration_id, "setup_status": "FINAL_SYNC_PENDING"}
    response = await api.post("/_sandbox/state-change", json=change)
    assert response.json() == {"id": integration_id, "state": "ACTIVE", "setup_status": "FINAL_SYNC_PENDING"}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("clock", {}, 422),
        ("clock", {"advance": -1}, 422),
        ("clock", {"advance": "1"}, 422),
        ("clock", {"advance": True}, 422),
        ("faults", {"path": "/check-api-key"}, 422),
        ("faults", {"path": "/check-api-key", "mode": "explode"}, 422),
        ("faults", {"path": "", "mode": "drop"}, 422),
        ("faults", {"path": "*", "mode": "drop", "times": 0}, 422),
        ("faults", {"path": "*", "mode": "drop", "times": 1.5}, 422),
        ("faults", {"path": "*", "mode": "rate_limited", "retry_after": []}, 422),
        ("complete", {"link": "http://localhost:8001/connect?token=nope"}, 404),
        ("complete", {"tool": "personio"}, 422),
        ("complete", {"link": "x", "order": "sideways"}, 422),
        ("state-change", {"integration_id": "personio:nope", "state": "INVALID"}, 404),
        ("state-change", {"integration_id": "personio:nope", "state": "BROKEN"}, 422),
        ("state-change", {"integration_id": "personio:nope"}, 422),
        ("settings", {"webhook_mode": "loud"}, 422),
        ("settings", {"volume": 11}, 422),
        ("webhooks/replay", {"event_id": 7}, 422),
        ("webhooks/send", {"data": []}, 422),
        ("reset", [], 422),
    ],
)
async def test_an_invalid_control_request_is_rejected_with_a_reason(
    api: httpx.AsyncClient, path: str, body: object, status: int
) -> None:
    response = await api.post(f"/_sandbox/{path}", json=body)
    assert response.status_code == status
    assert response.json()["error"]


async def test_a_control_request_with_broken_json_is_rejected(api: httpx.AsyncClient) -> None:
    assert (await api.post("/_sandbox/clock", content=b"{")).status_code == 422


@pytest.mark.parametrize("path", ["/_sandbox/nope", "/nope"])
async def test_unknown_paths_return_json(api: httpx.AsyncClient, path: str) -> None:
    response = await api.get(path)
    assert (response.status_code, response.json()) == (404, {"error": "Not Found"})


async def test_the_app_works_with_a_lifespan_and_after_it(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    async with LifespanManager(sandbox.app):
        await sandbox.complete(await mint())
        await sandbox.settle()
    assert receiver.types() == ["integration-created"]
    assert (await api.get("/v1/check-api-key")).status_code == 200
