"""With all loggers at DEBUG, no log record contains a credential or personal data."""

from __future__ import annotations

import logging

import httpx

from kombo_embed import EndUser, Settings
from kombo_embed.sandbox import Sandbox
from tests.support import (
    API_KEY,
    WEBHOOK_SECRET,
    LogRecorder,
    deliver_webhooks,
    make_host,
    order_fault,
    person,
    running,
)

ADA = person("ada@acme")
SECRET_BODY = "a-body-that-must-not-be-logged"


async def test_no_link_token_key_or_email_is_logged(
    log: LogRecorder, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, database_url: str
) -> None:
    app, embed = make_host(kombo, database_url=database_url)

    @embed.on("integration.connected")
    async def fail(_event: object) -> None:
        raise RuntimeError("the host's handler failed")

    async with running(app) as client:
        deliver_webhooks(sandbox, app)
        link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        await client.post("/kombo/links", headers=ADA, json={})
        flow = await sandbox.complete(link, "personio")
        await sandbox.settle()
        token = {"activation_token": flow.activation_token}
        for who in (ADA, person("eve@evil")):
            await client.post("/kombo/completions", headers=who, json=token)
            await client.get("/kombo/integrations", headers=who)
        await client.post("/kombo/links", headers=ADA, content=SECRET_BODY.encode())
        await client.post("/kombo/webhooks", content=SECRET_BODY.encode())
        for mode in ("unauthorized", "html_503", "empty_500", "drop", "redirect"):
            await order_fault(sandbox, "create-link", mode)
            await client.post("/kombo/links", headers=ADA, json={"fresh": True})
            await order_fault(sandbox, "integration-by-token", mode)
            await client.post("/kombo/completions", headers=ADA, json={"activation_token": "another-token"})
    # The test's own client logs its requests, too.
    text = "\n".join(line for line in log.lines if not line.startswith("httpx HTTP Request: POST http://app"))
    assert text
    for secret in (
        link,
        link.partition("token=")[2],
        flow.activation_token,
        "another-token",
        API_KEY,
        WEBHOOK_SECRET,
        "ada@acme.example",
        "eve@evil.example",
        SECRET_BODY,
    ):
        assert secret not in text


async def test_a_failure_of_the_host_is_logged_and_not_sent_to_the_browser(
    log: LogRecorder, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo, end_user=lambda _connection: 1 / 0)
    async with running(app) as client:
        response = await client.post("/kombo/links", json={})
    assert (response.status_code, response.json()["code"]) == (500, "identity_error")
    assert "ZeroDivisionError" not in response.text
    assert "identity.failed" in log.text()
    assert "ZeroDivisionError" in log.text()


async def test_the_hosts_own_use_of_the_http_library_is_logged(log: LogRecorder) -> None:
    logging.getLogger("httpx").info("the host's own record")
    assert "the host's own record" in log.text()


def test_no_repr_contains_a_secret() -> None:
    settings = Settings(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET)
    end_user = EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")
    for text in (repr(settings), str(settings), repr(end_user)):
        assert API_KEY not in text
        assert WEBHOOK_SECRET not in text
        assert "ada@" not in text
