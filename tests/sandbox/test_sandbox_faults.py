"""Faults on order: each looks as it does in the wild."""

import asyncio
import socket

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.sandbox.conftest import BASE_URL, END_USER, Mint
from tests.sandbox.running_server import running

CHECK = "/v1/check-api-key"


async def order(api: httpx.AsyncClient, mode: str, path: str = "/check-api-key", **more: object) -> None:
    answer = await api.post("/_sandbox/faults", json={"path": path, "mode": mode, **more})
    assert answer.status_code == 200, answer.text


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
    await order(api, mode)
    answer = await api.get(CHECK)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
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
    await order(api, mode)
    answer = await api.get(CHECK)
    assert (answer.status_code, answer.headers.get("content-type")) == (status, content_type)
    assert content in answer.content


async def test_foreign_json_comes_with_any_status(api: httpx.AsyncClient) -> None:
    await order(api, "foreign_json", status=418)
    assert (await api.get(CHECK)).status_code == 418


@pytest.mark.parametrize("retry_after", [5, 1.5, "Wed, 21 Oct 2026 07:28:00 GMT", "-1", "soon"])
async def test_retry_after_is_sent_as_ordered(api: httpx.AsyncClient, retry_after: str | float) -> None:
    await order(api, "rate_limited", retry_after=retry_after)
    assert (await api.get(CHECK)).headers["Retry-After"] == str(retry_after)


async def test_without_retry_after_there_is_none(api: httpx.AsyncClient) -> None:
    await order(api, "rate_limited")
    assert "Retry-After" not in (await api.get(CHECK)).headers


async def test_a_redirect_leads_where_it_was_told_to(api: httpx.AsyncClient) -> None:
    await order(api, "redirect", location="https://evil.example/v1")
    answer = await api.get(CHECK)
    assert (answer.status_code, answer.headers["Location"]) == (307, "https://evil.example/v1")


async def test_a_slow_answer_comes_after_its_pause(api: httpx.AsyncClient, pauses: list[float]) -> None:
    await order(api, "slow", seconds=12.5)
    assert (await api.get(CHECK)).status_code == 200
    assert pauses == [12.5]


async def test_an_impatient_caller_can_leave_a_slow_answer() -> None:
    sandbox = Sandbox()
    transport = httpx.ASGITransport(sandbox.app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        await order(client, "slow")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await client.get(CHECK)


async def test_a_dropped_connection_is_an_exception_in_process(api: httpx.AsyncClient) -> None:
    await order(api, "drop")
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


async def test_a_fault_lasts_for_as_many_calls_as_ordered(api: httpx.AsyncClient) -> None:
    await order(api, "text_502", times=2)
    await order(api, "empty_500")
    assert [(await api.get(CHECK)).status_code for _ in range(4)] == [502, 502, 500, 200]


async def test_spoilt_calls_are_counted_too(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    await order(api, "html_503", "/connect/create-link")
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
    await order(api, "text_502", path)
    assert (await api.get("/v1/connect/integration-by-token/abc")).status_code == 502


async def test_a_fault_spares_other_paths_and_methods(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint
) -> None:
    integration_id = (await sandbox.complete(await mint())).integration_id
    await order(api, "text_502", "/integrations/{integration_id}", method="DELETE")
    await order(api, "text_502", f"{integration_id}/relink")
    statuses = [
        (await api.get(f"/v1/integrations/{integration_id}")).status_code,
        (await api.request("DELETE", f"/v1/integrations/{integration_id}", json={})).status_code,
        (await api.post(f"/v1/integrations/{integration_id}/relink", json={})).status_code,
    ]
    assert statuses == [200, 502, 502]


async def test_orders_can_be_cancelled(api: httpx.AsyncClient) -> None:
    await order(api, "drop", times=100)
    await api.delete("/_sandbox/faults")
    assert (await api.get(CHECK)).status_code == 200


async def test_a_fault_comes_before_the_key_is_looked_at(api: httpx.AsyncClient) -> None:
    await order(api, "html_503")
    assert (await api.get(CHECK, headers={"Authorization": "Bearer wrong"})).status_code == 503
