"""Injected faults look like those of real servers."""

import asyncio
import socket

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.sandbox.conftest import BASE_URL, END_USER, Mint
from tests.sandbox.running_server import running

CHECK = "/v1/check-api-key"


async def inject(api: httpx.AsyncClient, mode: str, path: str = "/check-api-key", **more: object) -> None:
    response = await api.post("/_sandbox/faults", json={"path": path, "mode": mode, **more})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("mode", "status", "code"),
    [
        ("rate_limited", 429, "PLATFORM.RATE_LIMIT_EXCEEDED"),
        ("unauthorized", 401, "PLATFORM.AUTHENTICATION_INVALID"),
        ("input_invalid", 400, "PLATFORM.INPUT_INVALID"),
        ("unknown_code", 400, "PLATFORM.NOT_INVENTED_YET"),
        ("null_code", 400, None),
    ],
)
async def test_a_fault_with_an_envelope(api: httpx.AsyncClient, mode: str, status: int, code: str) -> None:
    await inject(api, mode)
    response = await api.get(CHECK)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert error.keys() == {"code", "title", "message", "log_url"}
    assert (await api.get(CHECK)).status_code == 200


@pytest.mark.parametrize(
    ("mode", "status", "content_type", "content"),
    [
        ("html_503", 503, "text/html; charset=utf-8", b"nginx"),
        ("text_502", 502, "text/plain; charset=utf-8", b"Bad Gateway"),
        ("empty_500", 500, None, b""),
        ("foreign_json", 200, "application/json", b'"ok": true'),
    ],
)
async def test_a_fault_without_an_envelope(
    api: httpx.AsyncClient, mode: str, status: int, content_type: str | None, content: bytes
) -> None:
    await inject(api, mode)
    response = await api.get(CHECK)
    assert (response.status_code, response.headers.get("content-type")) == (status, content_type)
    assert content in response.content


async def test_foreign_json_comes_with_any_status(api: httpx.AsyncClient) -> None:
    await inject(api, "foreign_json", status=418)
    assert (await api.get(CHECK)).status_code == 418


@pytest.mark.parametrize("retry_after", [5, 1.5, "Wed, 21 Oct 2026 07:28:00 GMT", "-1", "soon"])
async def test_retry_after_is_sent_as_given(api: httpx.AsyncClient, retry_after: str | float) -> None:
    await inject(api, "rate_limited", retry_after=retry_after)
    assert (await api.get(CHECK)).headers["Retry-After"] == str(retry_after)


async def test_retry_after_is_omitted_by_default(api: httpx.AsyncClient) -> None:
    await inject(api, "rate_limited")
    assert "Retry-After" not in (await api.get(CHECK)).headers


async def test_a_redirect_has_the_given_location(api: httpx.AsyncClient) -> None:
    await inject(api, "redirect", location="https://evil.example/v1")
    response = await api.get(CHECK)
    assert (response.status_code, response.headers["Location"]) == (307, "https://evil.example/v1")


async def test_a_slow_response_waits_first(api: httpx.AsyncClient, pauses: list[float]) -> None:
    await inject(api, "slow", seconds=12.5)
    assert (await api.get(CHECK)).status_code == 200
    assert pauses == [12.5]


async def test_a_caller_can_abandon_a_slow_response() -> None:
    sandbox = Sandbox()
    transport = httpx.ASGITransport(sandbox.app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        await inject(client, "slow")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await client.get(CHECK)


async def test_a_dropped_connection_raises_in_process(api: httpx.AsyncClient) -> None:
    await inject(api, "drop")
    with pytest.raises(httpx.RemoteProtocolError):
        await api.get(CHECK)


def test_a_dropped_connection_sends_no_byte_over_a_real_socket() -> None:
    with running(Sandbox().app) as url:
        address = httpx.URL(url)
        assert httpx.post(f"{url}/_sandbox/faults", json={"path": "*", "mode": "drop"}).status_code == 200
        with socket.create_connection((address.host, address.port or 0), timeout=5) as connection:
            connection.sendall(b"GET /v1/check-api-key HTTP/1.1\r\nHost: localhost\r\n\r\n")
            try:
                received = connection.recv(1024)
            except ConnectionResetError:
                received = b""
        assert received == b""
        assert httpx.get(f"{url}{CHECK}", headers={"Authorization": "Bearer any"}).status_code == 200


async def test_a_fault_lasts_for_the_given_number_of_calls(api: httpx.AsyncClient) -> None:
    await inject(api, "text_502", times=2)
    await inject(api, "empty_500")
    assert [(await api.get(CHECK)).status_code for _ in range(4)] == [502, 502, 500, 200]


async def test_failed_calls_are_counted_too(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    await inject(api, "html_503", "/connect/create-link")
    for _ in range(2):
        await api.post("/v1/connect/create-link", json=END_USER)
    assert sandbox.calls == {"POST /v1/connect/create-link": 2}


@pytest.mark.parametrize(
    "path",
    [
        "/connect/integration-by-token/{token}",
        "integration-by-token",
        "/connect/integration-by-token/abc",
        "/v1/connect/integration-by-token/abc",
        "*",
    ],
)
async def test_a_path_is_matched_by_its_end(api: httpx.AsyncClient, path: str) -> None:
    await inject(api, "text_502", path)
    assert (await api.get("/v1/connect/integration-by-token/abc")).status_code == 502


async def test_a_fault_does_not_affect_other_paths_and_methods(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint
) -> None:
    integration_id = (await sandbox.complete(await mint())).integration_id
    await inject(api, "text_502", "/integrations/{integration_id}", method="DELETE")
    await inject(api, "text_502", f"{integration_id}/relink")
    statuses = [
        (await api.get(f"/v1/integrations/{integration_id}")).status_code,
        (await api.request("DELETE", f"/v1/integrations/{integration_id}", json={})).status_code,
        (await api.post(f"/v1/integrations/{integration_id}/relink", json={})).status_code,
    ]
    assert statuses == [200, 502, 502]


async def test_faults_can_be_cleared(api: httpx.AsyncClient) -> None:
    await inject(api, "drop", times=100)
    await api.delete("/_sandbox/faults")
    assert (await api.get(CHECK)).status_code == 200


async def test_a_fault_applies_before_the_key_is_checked(api: httpx.AsyncClient) -> None:
    await inject(api, "html_503")
    assert (await api.get(CHECK, headers={"Authorization": "Bearer wrong"})).status_code == 503
