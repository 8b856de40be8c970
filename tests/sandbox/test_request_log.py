"""The log of API calls: what it shows of each, and that no secret is in it."""

import json
from typing import Any

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from kombo_embed.sandbox.redaction import REDACTED, redact_body
from tests.sandbox.conftest import API_KEY, END_USER, WEBHOOK_SECRET, Mint

OPAQUE = "a1B2c3D4e5" * 5


async def logged(api: httpx.AsyncClient) -> list[dict[str, Any]]:
    requests: list[dict[str, Any]] = (await api.get("/_sandbox/state")).json()["requests"]
    return requests


async def test_a_call_is_logged_with_its_time_status_and_bodies(api: httpx.AsyncClient, mint: Mint) -> None:
    await mint(integration_tool="hibob")
    (call,) = await logged(api)
    assert (call["method"], call["path"], call["status"]) == ("POST", "/v1/connect/create-link", 200)
    assert call["created_at"] == "2026-09-21T14:13:20.000Z"
    assert call["milliseconds"] >= 0
    assert json.loads(call["request_body"]) == END_USER | {"integration_tool": "hibob"}
    assert json.loads(call["response_body"]) == {"status": "success", "data": {"link": REDACTED}}


@pytest.mark.parametrize("shape", ["jwt", "opaque"])
async def test_neither_links_nor_tokens_nor_keys_are_in_the_log(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, shape: str
) -> None:
    await api.post("/_sandbox/settings", json={"link_shape": shape})
    link = await mint()
    done = await sandbox.complete(link)
    path = f"/v1/integrations/{done.integration_id}"
    await api.get(f"/v1/connect/integration-by-token/{done.activation_token}")
    await api.get(f"/v1/connect/integration-by-token/{done.activation_token}/twice")
    await api.get(f"/v1/{done.activation_token}")
    await api.get(f"/v1/tools/hris?token={done.activation_token}&key={API_KEY}")
    await api.post("/v1/connect/activate-integration", json={"token": done.activation_token})
    await api.post("/v1/connect/activate-integration", json={done.activation_token: [link, API_KEY]})
    await api.post("/v1/connect/create-link", content=f"{link} {API_KEY} {WEBHOOK_SECRET}".encode())
    relink = (await api.post(f"{path}/relink", json={})).json()["data"]["link"]
    other_key = "another-key-of-somebody"
    body = {"note": f"sent with {other_key}"}
    await api.post(f"{path}/relink", json=body, headers={"Authorization": f"Bearer {other_key}"})
    calls = await logged(api)
    text = json.dumps([calls, sandbox.calls])
    tokens = [httpx.URL(address).params["token"] for address in (link, relink)]
    for secret in (*tokens, done.activation_token, API_KEY, WEBHOOK_SECRET, other_key):
        assert secret not in text
        assert secret[:20] not in text
    assert len(calls) == 10
    assert calls[1]["path"] == "/v1/connect/integration-by-token/{token}"
    assert done.integration_id in text


@pytest.mark.parametrize(
    "value",
    [
        {"apiKey": "x"},
        {"api_key": "x"},
        {"activationToken": ["x"]},
        {"data": {"link": "x"}},
        [{"webhook_secret": {"value": "x"}}],
        {"password": 7},
        {"note": f"see https://connect.example/v1?token={'x' * 8}&lang=en"},
        {"note": f"Authorization: Bearer {'x' * 8}"},
        {"note": f"({OPAQUE})"},
        {OPAQUE: True},
    ],
    ids=str,
)
def test_secrets_are_recognized_by_name_and_by_form(value: object) -> None:
    text = redact_body(json.dumps(value).encode())
    assert REDACTED in text
    assert not any(secret in text for secret in ('"x"', "xxxx", OPAQUE, "7"))


@pytest.mark.parametrize(
    "value",
    [
        {"link_type": "EMBEDDED", "token_count": 3, "key_note": "plain"},
        {"id": "personio:CBNMt7dSNCzBdnRTx87dev4E", "log_url": "https://app.kombo.dev/logs?id=7"},
        {"link": None, "end_user_organization_name": "Donaudampfschifffahrtsgesellschaft 🚢 \u2028"},
        {"nested": [[[{"deep": True}]]]},
    ],
    ids=str,
)
def test_everything_else_stays_readable(value: object) -> None:
    assert json.loads(redact_body(json.dumps(value).encode())) == value


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe{",
        b"[" * 100_000,
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b'{"half": "\\ud800"}',
        b"NaN",
        b"1" * 5000,
        b"",
    ],
    ids=lambda body: body[:12],
)
async def test_no_body_breaks_the_log(api: httpx.AsyncClient, body: bytes) -> None:
    await api.post("/v1/connect/create-link", content=body, headers={"Content-Type": "application/json"})
    (call,) = await logged(api)
    assert call["status"] == 400
    assert len(call["request_body"]) <= 6_010


async def test_the_log_is_bounded_in_number_and_size(api: httpx.AsyncClient) -> None:
    for number in range(105):
        await api.get(f"/v1/integrations/{number}")
    await api.post("/v1/connect/create-link", content=b'{"link": "' + b"x" * 70_000)
    await api.get("/v1/" + "y/" * 1000)
    calls = await logged(api)
    assert len(calls) == 100
    assert (calls[0]["path"], calls[-2]["request_body"]) == ("/v1/integrations/7", "[longer than 64 KiB]")
    assert len(calls[-1]["path"]) == 300


@pytest.mark.parametrize(
    ("mode", "status"), [("rate_limited", 429), ("empty_500", 500), ("slow", 200), ("html_503", 503)]
)
async def test_a_call_that_meets_a_fault_is_logged_with_its_body_and_the_fault(
    api: httpx.AsyncClient, mode: str, status: int, pauses: list[float]
) -> None:
    await api.post("/_sandbox/faults", json={"path": "*", "mode": mode, "seconds": 3})
    await api.post("/v1/connect/create-link", json=END_USER)
    (call,) = await logged(api)
    assert (call["status"], call["fault"]) == (status, mode)
    assert json.loads(call["request_body"]) == END_USER
    assert pauses == ([3] if mode == "slow" else [])


async def test_a_dropped_connection_is_logged_without_a_status(api: httpx.AsyncClient) -> None:
    await api.post("/_sandbox/faults", json={"path": "*", "mode": "drop"})
    with pytest.raises(httpx.RemoteProtocolError):
        await api.get("/v1/check-api-key")
    (call,) = await logged(api)
    assert (call["status"], call["fault"], call["response_body"]) == (None, "drop", "")


async def test_pages_and_controls_are_not_logged(api: httpx.AsyncClient, mint: Mint) -> None:
    link = await mint()
    await api.get(link)
    await api.get("/")
    await api.post("/_sandbox/complete", json={"link": link})
    assert [call["path"] for call in await logged(api)] == ["/v1/connect/create-link"]


async def test_a_reset_empties_the_log(api: httpx.AsyncClient, mint: Mint) -> None:
    await mint()
    await api.post("/_sandbox/reset")
    assert await logged(api) == []
