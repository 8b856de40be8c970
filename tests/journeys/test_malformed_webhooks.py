"""Webhooks that are signed but unusual, or not events at all."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from kombo_embed.cli.app import app as commands
from kombo_embed.kombo.webhooks import sign
from tests.support import WEBHOOK_SECRET, make_host, running, webhook_request

SECRET = "ada@acme.example"


async def deliver(client: httpx.AsyncClient, body: bytes) -> httpx.Response:
    return await client.post(
        "/kombo/webhooks", content=body, headers={"X-Kombo-Signature": sign(body, WEBHOOK_SECRET)}
    )


def saved() -> list[tuple[Any, ...]]:
    with sqlite3.connect("kombo_embed.db") as database:
        query = "select body, reason, times from kombo_embed_malformed_events order by first_received_at"
        return database.execute(query).fetchall()


async def test_a_signed_body_that_is_not_an_event_is_rejected_saved_once_and_listed(
    kombo: httpx.AsyncBaseTransport, caplog: pytest.LogCaptureFixture
) -> None:
    incomplete = {"id": "e1", "type": "integration-created", "data": {"tool": SECRET, "id": 7}}
    body = json.dumps(incomplete).encode()
    app, _ = make_host(kombo)
    caplog.set_level(logging.INFO, "kombo_embed")
    async with running(app) as client:
        for _ in range(3):
            assert (await deliver(client, body)).status_code == 422
        assert (await deliver(client, b"\xff{")).status_code == 422
    assert [(row[0], row[2]) for row in saved()] == [(body, 3), (b"\xff{", 1)]
    records = [vars(record) for record in caplog.records if record.getMessage() == "webhook.malformed"]
    assert len(records) == 4
    assert "data.id" in records[0]["reason"]
    assert not [record for record in records if SECRET in str(record)]
    assert all(SECRET not in row[1] for row in saved())
    listed = await asyncio.to_thread(CliRunner().invoke, commands, ["events", "--malformed", "--json"])
    texts = [one["body"] for one in json.loads(listed.stdout)["malformed"]]
    assert {"text": body.decode()} in texts
    assert {"base64": "/3s="} in texts
    table = await asyncio.to_thread(CliRunner().invoke, commands, ["events", "--malformed"])
    assert SECRET not in table.stdout


async def test_a_body_with_a_wrong_signature_is_not_saved(kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        wrong = {"X-Kombo-Signature": "x" * 43}
        assert (await client.post("/kombo/webhooks", content=b"{}", headers=wrong)).status_code == 401
    assert saved() == []


UNUSUAL = [
    (b'{"id":"n1","type":"other","data":{"a":NaN}}', 422),
    (b'{"id":"n2","type":"other","data":{"a":-Infinity}}', 422),
    (b'{"id":"n3","type":"other","data":{"a":1e999}}', 204),
    (b'{"id":"n4","type":"other","data":{"a":1' + b"0" * 400 + b"}}", 204),
    (b'{"id":"n5","type":"other","data":{"a":1' + b"0" * 5000 + b"}}", 204),
    (b'{"id":"n6","type":"other","data":null}', 204),
    (b'{"id":"n7","type":"other","data":[1]}', 422),
    (b'{"id":"n8","type":"other","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 422),
    (b'{"id":"n9","type":"integration-created","data":null}', 422),
    (b'{"id":"n10","type":"integration-created","data":{"id":"a:1","tool":"a","score":1e999}}', 204),
    (
        b'{"id":"n11","type":"integration-created","data":{"id":"a:1","tool":"a","end_user":{"origin_id":"'
        + b"f0" * 1500
        + b'"}}}',
        422,
    ),
    (b'{"id":"n12","type":"other","data":{"a":1e999,"b":"half \\ud83d"}}', 204),
    (b'{"id":"n13","type":"other","data":{"a":1' + b"0" * 5000 + b',"b":"half \\ud83d"}}', 204),
]


async def test_unusual_values_are_accepted_as_far_as_every_database_can_store_them(
    kombo: httpx.AsyncBaseTransport, database_url: str
) -> None:
    app, _ = make_host(kombo, database_url=database_url)
    async with running(app) as client:
        for body, status in UNUSUAL:
            for _ in range(2):
                assert (await deliver(client, body)).status_code == status, body[:60]


@pytest.mark.parametrize("updated_at", ["0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00", None])
async def test_events_with_extreme_times_or_without_an_end_user_are_recorded(
    updated_at: str | None, kombo: httpx.AsyncBaseTransport
) -> None:
    app, embed = make_host(kombo)
    state = {"integration_id": "personio:7", "state": "INVALID", "updated_at": updated_at}
    created = {"id": "personio:7", "tool": "personio", "end_user": None}
    changed = webhook_request("event-8", "integration-state-changed", state)
    async with running(app) as client:
        for webhook in (changed, webhook_request("event-7", "integration-created", created)):
            assert (await client.post("/kombo/webhooks", **webhook)).status_code == 204
        integration = await embed.integration("personio:7")
        assert integration is not None
        assert (integration.status, integration.origin_id) == ("INVALID", None)


async def test_a_lone_surrogate_in_an_event_is_replaced_and_the_event_recorded(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    app, embed = make_host(kombo)
    end_user = {"origin_id": "acme", "organization_name": "Acme \ud83d", "creator_email": None}
    created = {"id": "personio:9", "tool": "personio", "end_user": end_user}
    async with running(app) as client:
        webhook = webhook_request("event-9", "integration-created", created)
        assert (await client.post("/kombo/webhooks", **webhook)).status_code == 204
        [integration] = await embed.integrations("acme")
    assert integration.organization_name == "Acme ?"
