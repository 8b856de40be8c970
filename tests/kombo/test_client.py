from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from kombo_embed import EndUser, errors
from kombo_embed.kombo.client import ATTEMPTS, KomboClient
from kombo_embed.kombo.requests import RESPONSE_MAX_BYTES
from kombo_embed.models import LinkRequest
from tests.fakes import PASS, FlakyTransport, Outcome, RecordingTransport, respond

ADA = EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")
HRIS = LinkRequest("HRIS", "en")
URL = "https://connect.kombo.dev/v1?token=x"
LINK = {"status": "success", "data": {"link": URL}}
KOMBO = httpx.MockTransport(respond(json=LINK))


def client(transport: httpx.AsyncBaseTransport) -> KomboClient:
    return KomboClient(
        base_url="https://api.kombo.dev/v1",
        api_key="ks_dev_key",
        timeout_seconds=10,
        connect_timeout_seconds=3,
        clock=time,
        transport=transport,
    )


def responding(status: int = 200, **response: Any) -> KomboClient:
    return client(httpx.MockTransport(respond(status, **response)))


async def test_the_key_is_sent_as_a_bearer_token_and_the_body_as_json() -> None:
    recorded = RecordingTransport(KOMBO)
    assert await client(recorded).mint_link(ADA, HRIS) == URL
    [request] = recorded.requests
    assert request.headers["authorization"] == "Bearer ks_dev_key"
    assert request.headers["content-type"] == "application/json"
    assert str(request.url) == "https://api.kombo.dev/v1/connect/create-link"


async def test_a_token_is_percent_encoded_in_the_path() -> None:
    recorded = RecordingTransport(
        httpx.MockTransport(respond(json={"data": {"id": "personio:x", "tool": "personio"}}))
    )
    assert (await client(recorded).integration_by_token("a+b=:c")).integration_id == "personio:x"
    assert recorded.requests[0].url.raw_path == b"/v1/connect/integration-by-token/a%2Bb%3D%3Ac"


async def test_a_redirect_is_an_invalid_response() -> None:
    with pytest.raises(errors.KomboInvalidResponse):
        await responding(307, headers={"Location": "https://evil.example/"}).mint_link(ADA, HRIS)


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ({"content": b"x" * (RESPONSE_MAX_BYTES + 1)}, "longer"),
        ({"headers": {"Content-Encoding": "gzip"}}, "compressed"),
    ],
)
async def test_a_body_that_is_too_long_or_compressed_is_an_invalid_response(
    response: dict[str, Any], reason: str
) -> None:
    with pytest.raises(errors.KomboInvalidResponse, match=reason):
        await responding(**response).mint_link(ADA, HRIS)
    # The status of a failure says enough.
    with pytest.raises(errors.KomboUnavailable):
        await responding(500, **response).mint_link(ADA, HRIS)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (httpx.ConnectError("refused"), errors.KomboUnavailable),
        (ConnectionResetError(), errors.KomboUnavailable),
        (httpx.ReadTimeout("slow"), errors.KomboTimeout),
    ],
)
async def test_a_failure_of_the_network_becomes_ours_and_is_logged_by_its_type(
    failure: Exception, kind: type[errors.KomboError], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(kind) as caught:
        await client(FlakyTransport(KOMBO, then=failure)).mint_link(ADA, HRIS)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    unreachable = [record for record in caplog.records if record.message == "kombo.unreachable"]
    logged = "no response within" if kind is errors.KomboTimeout else type(failure).__name__
    assert unreachable
    assert all(vars(record)["error"].startswith(logged) for record in unreachable)
    assert len(unreachable) == (ATTEMPTS if kind is errors.KomboUnavailable else 1)


@pytest.mark.parametrize("failure", [respond(503), httpx.ConnectError("refused")], ids=["503", "unreachable"])
async def test_a_short_failure_is_retried(failure: Outcome) -> None:
    flaky = FlakyTransport(KOMBO, failure, PASS)
    assert await client(flaky).mint_link(ADA, HRIS) == URL
    assert flaky.calls == 2


@pytest.mark.parametrize(
    ("status", "calls"), [(503, ATTEMPTS), (500, 1), (400, 1), (401, 1)], ids=["503", "500", "400", "401"]
)
async def test_only_failures_that_are_safe_to_retry_are_retried(status: int, calls: int) -> None:
    flaky = FlakyTransport(KOMBO, then=respond(status))
    with pytest.raises(errors.KomboError):
        await client(flaky).mint_link(ADA, HRIS)
    assert flaky.calls == calls


async def test_a_refusal_is_logged_without_kombos_message(caplog: pytest.LogCaptureFixture) -> None:
    body = {"status": "error", "error": {"code": "PLATFORM.INPUT_INVALID", "message": "ada@acme.example"}}
    with pytest.raises(errors.KomboRejected):
        await responding(400, json=body).mint_link(ADA, HRIS)
    [record] = [record for record in caplog.records if record.message == "kombo.refused"]
    assert (vars(record)["status"], vars(record)["error_code"]) == (400, "kombo_rejected")
    assert "PLATFORM.INPUT_INVALID" in vars(record)["reason"]
    assert "acme" not in str(vars(record))


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "PLATFORM.INPUT_INVALID"),
        (404, "PLATFORM.INTEGRATION_NOT_FOUND"),
        (404, None),
        (410, "NEW.CODE"),
    ],
)
async def test_every_refusal_of_a_token_is_one_error(status: int, code: str | None) -> None:
    body = {"status": "error", "error": {"code": code, "message": "?"}}
    with pytest.raises(errors.ActivationRejected):
        await responding(status, json=body).integration_by_token("token")


async def test_a_refused_key_is_not_blamed_on_the_token() -> None:
    body = {"status": "error", "error": {"code": "PLATFORM.AUTHENTICATION_INVALID", "message": "?"}}
    with pytest.raises(errors.KomboRejected) as caught:
        await responding(401, json=body).integration_by_token("token")
    assert caught.value.cause == "credentials"
