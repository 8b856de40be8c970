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
    lists = {"integrations", "deleted_integrations", "links", "deliveries", "faults", "requests"}
    assert set(report) == lists | {"webhooks_to_lose", "webhooks_to_fail"}
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


async def test_an_integration_left_incomplete_has_a_setup_step_that_its_setup_link_finishes(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    integration_id = (await sandbox.complete(await mint())).integration_id
    await api.post("/_sandbox/leave-incomplete", json={"integration_id": integration_id})
    before = (await api.get(f"/v1/integrations/{integration_id}")).json()["data"]["setup_status"]
    link = await api.post(f"/v1/integrations/{integration_id}/setup-link", json={"link_type": "EMBEDDED"})
    await sandbox.complete(link.json()["data"]["link"])
    after = (await api.get(f"/v1/integrations/{integration_id}")).json()["data"]["setup_status"]
    assert (before, after) == ("INCOMPLETE", "COMPLETED")
    await sandbox.settle()
    assert receiver.types() == ["integration-created", *["integration-state-changed"] * 2]


async def test_a_deleted_integration_is_gone_and_its_webhook_is_sent(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    integration_id = (await sandbox.complete(await mint())).integration_id
    response = await api.post("/_sandbox/delete", json={"integration_id": integration_id})
    assert response.json() == {"id": integration_id}
    assert (await api.get(f"/v1/integrations/{integration_id}")).status_code == 404
    await sandbox.settle()
    assert receiver.types() == ["integration-created", "integration-deleted"]


async def test_changed_data_is_reported_by_kombos_event(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    link = await mint(integration_category="LMS", integration_tool="udemy")
    integration_id = (await sandbox.complete(link)).integration_id
    await api.post("/_sandbox/change-data", json={"integration_id": integration_id})
    await sandbox.settle()
    assert receiver.events()[-1] | {"id": ""} == {
        "id": "",
        "type": "data-changed",
        "data": {
            "integration_id": integration_id,
            "integration_tool": "udemy",
            "integration_category": "LMS",
            "changed_models": [{"name": "lms_users"}, {"name": "lms_course_progressions"}],
        },
    }


async def test_the_next_webhook_is_lost_and_the_next_attempt_fails_on_request(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, receiver: Receiver
) -> None:
    await api.post("/_sandbox/webhooks/lose")
    await api.post("/_sandbox/webhooks/fail", json={"times": 2})
    before = (await api.get("/_sandbox/state")).json()
    for _ in range(2):
        await sandbox.complete(await mint())
    await sandbox.settle()
    after = (await api.get("/_sandbox/state")).json()
    pending = [(report["webhooks_to_lose"], report["webhooks_to_fail"]) for report in (before, after)]
    assert pending == [(1, 2), (0, 0)]
    outcomes = [(delivery["status"], delivery["attempts"]) for delivery in after["deliveries"]]
    assert outcomes == [("dropped", 0), ("delivered", 3)]
    assert len(receiver.requests) == 1


async def test_the_newest_records_can_be_read_alone(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint
) -> None:
    for _ in range(3):
        await sandbox.complete(await mint())
    everything = (await api.get("/_sandbox/state")).json()
    newest = (await api.get("/_sandbox/state?newest=2")).json()
    for kind in ("requests", "integrations", "links", "deliveries"):
        assert newest[kind] == everything[kind][1:], kind
    assert newest["calls"] == everything["calls"]
    for wrong in ("0", "-1", "x", "", "1" * 20, "\u0661"):
        assert (await api.get("/_sandbox/state", params={"newest": wrong})).status_code == 422


async def test_calls_of_many_different_paths_are_counted_together(
    api: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    for number in range(1010):
        await api.get(f"/v1/path-{number}")
    await api.get("/v1/path-0")
    assert len(sandbox.calls) == 1001
    assert (sandbox.calls["(other paths)"], sandbox.calls["GET /v1/path-0"]) == (10, 2)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("delete", {"integration_id": "personio:nope"}, 404),
        ("leave-incomplete", {"integration_id": "personio:nope"}, 404),
        ("change-data", {"integration_id": "personio:nope"}, 404),
        ("delete", {}, 422),
        ("webhooks/lose", {"times": 0}, 422),
        ("webhooks/fail", {"times": "1"}, 422),
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
