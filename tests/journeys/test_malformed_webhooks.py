"""Webhooks that are signed but unusual, or not events at all."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from contextlib import closing
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from kombo_embed.cli.app import app as commands
from kombo_embed.kombo.webhooks import sign
from tests.support import WEBHOOK_SECRET, eventually, make_host, running, webhook_request

SECRET = "ada@acme.example"


async def deliver(client: httpx.AsyncClient, body: bytes) -> httpx.Response:
    return await client.post(
        "/kombo/webhooks", content=body, headers={"X-Kombo-Signature": sign(body, WEBHOOK_SECRET)}
    )


def saved() -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect("kombo_embed.db")) as database, database:
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
    (b'{"id":"n14","type":"other","data":' + b'{"a":' * 98 + b"[1]" + b"}" * 98 + b"}", 204),
    (b'{"id":"n15","type":"other","data":' + b'{"a":' * 99 + b"[1]" + b"}" * 99 + b"}", 422),
    (b'{"id":"n16","type":"other","data":' + b'{"a":' * 900 + b"[1]" + b"}" * 900 + b"}", 422),
    (b'{"id":"n17","type":"other","data":' + b'{"a":' * 100_000, 422),
    (b'{"id":"n18","type":"other","data":{"a\\u0000":"b\\u0000","\\ud83d":"\\udc00\\ud83d"}}', 204),
    (b'{"id":"n19","type":"other","data":{"a":"\\ud83d\\ude00","b":-1e400,"c":-0.0,"d":1E+2}}', 204),
    (b'{"id":"n20\\u0000","type":"other","data":{}}', 422),
    (b'{"id":"n21\\ud83d","type":"other","data":{}}', 422),
    (b'{"id":"n22","type":"other\\u0000","data":{}}', 422),
    (b'{"id":"n23","type":"other","data":{"a":"\x00"}}', 422),
    (b'{"id":"n24","type":"other","data":{"a":"\xed\xa0\x80"}}', 422),
    (b'\xef\xbb\xbf{"id":"n25","type":"other","data":{}}', 422),
    ('{"id":"n26","type":"other","data":{}}'.encode("utf-16"), 422),
    (b'{"id":1e400,"type":"other","data":{}}', 422),
    (
        b'{"id":"n27","type":"integration-state-changed","data":{"integration_id":"a:1","updated_at":1e400}}',
        422,
    ),
    (b'{"id":"n28","type":"integration-state-changed","data":{"integration_id":"a\\u0000"}}', 422),
    (b'{"id":"n29","type":"integration-created","data":{"id":"a:1\\ud83d","tool":"a"}}', 422),
    (
        b'{"id":"n30","type":"other","data":{"integration_id":"a\\u0000","end_user":{"origin_id":"b\\ud83d"}}}',
        204,
    ),
    (
        b'{"id":"n31","type":"other","data":{"a":' + b"9" * 300 + b',"b":' + b"9" * 301 + b',"c":1.7e308}}',
        204,
    ),
]


async def test_unusual_values_are_accepted_as_far_as_every_database_can_store_them(
    kombo: httpx.AsyncBaseTransport, database_url: str
) -> None:
    app, _ = make_host(kombo, database_url=database_url)
    async with running(app) as client:
        for body, status in UNUSUAL:
            for _ in range(2):
                assert (await deliver(client, body)).status_code == status, body[:60]
        assert (await client.get("/kombo/health")).json()["status"] == "ok"


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
    assert integration.organization_name == "Acme \ufffd"


@pytest.mark.parametrize("origin_id", ["ac\x00me", "ac\ud83dme", "\x00", "a" * 513])
async def test_an_event_for_an_origin_id_that_no_end_user_can_have_reaches_no_one_who_has_a_similar_one(
    origin_id: str, kombo: httpx.AsyncBaseTransport, database_url: str
) -> None:
    app, embed = make_host(kombo, database_url=database_url)
    similar = [origin_id.replace(one, other) for one in "\x00\ud83d" for other in ("", "\ufffd", "?", " ")]
    events: list[str | None] = []
    embed.on("kombo.event")(lambda event: events.append(event.origin_id))
    async with running(app) as client:
        created = {"id": "a:1", "tool": "a", "end_user": {"origin_id": origin_id}}
        webhook = webhook_request("event-1", "integration-created", created)
        assert (await client.post("/kombo/webhooks", **webhook)).status_code == 422
        other = webhook_request("event-2", "other", {"end_user": {"origin_id": origin_id}})
        assert (await client.post("/kombo/webhooks", **other)).status_code == 204
        await eventually(lambda: len(events) == 1)
        assert events == [None]
        for one in {origin_id, *similar}:
            assert await embed.integrations(one) == []
        assert await embed.integration("a\x00") is None


async def test_events_whose_ids_differ_only_in_what_databases_cannot_store_are_not_mixed_up(
    kombo: httpx.AsyncBaseTransport, database_url: str
) -> None:
    app, _ = make_host(kombo, database_url=database_url)
    statuses = []
    async with running(app) as client:
        for event_id in ("e\ufffd", "e\x00", "e\ud83d", "e?", "e ", "e", "E"):
            webhook = webhook_request(event_id, "other", {})
            statuses.append((await client.post("/kombo/webhooks", **webhook)).status_code)
    assert statuses == [204, 422, 422, 204, 204, 204, 204]
