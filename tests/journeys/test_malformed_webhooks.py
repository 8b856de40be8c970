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
from tests.support import WEBHOOK_SECRET, make_host, running

SECRET_WORDS = "ada@acme.example"


async def deliver(client: httpx.AsyncClient, body: bytes) -> httpx.Response:
    return await client.post(
        "/kombo/webhooks", content=body, headers={"X-Kombo-Signature": sign(body, WEBHOOK_SECRET)}
    )


def kept() -> list[tuple[Any, ...]]:
    with sqlite3.connect("kombo_embed.db") as database:
        query = "select body, reason, times from kombo_embed_malformed_events order by first_received_at"
        return database.execute(query).fetchall()


async def test_a_signed_body_that_is_no_event_is_refused_kept_once_and_shown(
    kombo: httpx.AsyncBaseTransport, caplog: pytest.LogCaptureFixture
) -> None:
    lacking = {"id": "e1", "type": "integration-created", "data": {"tool": SECRET_WORDS, "id": 7}}
    body = json.dumps(lacking).encode()
    app, _ = make_host(kombo)
    caplog.set_level(logging.INFO, "kombo_embed")
    async with running(app) as client:
        for _ in range(3):
            assert (await deliver(client, body)).status_code == 422
        assert (await deliver(client, b"\xff{")).status_code == 422
    assert [(row[0], row[2]) for row in kept()] == [(body, 3), (b"\xff{", 1)]
    lines = [record.getMessage() for record in caplog.records if "webhook.malformed" in record.getMessage()]
    assert len(lines) == 4
    assert "data.id" in lines[0]
    assert SECRET_WORDS not in caplog.text
    assert all(SECRET_WORDS not in row[1] for row in kept())
    shown = await asyncio.to_thread(CliRunner().invoke, commands, ["events", "--malformed", "--json"])
    texts = [one["body"] for one in json.loads(shown.stdout)["malformed"]]
    assert {"text": body.decode()} in texts
    assert {"base64": "/3s="} in texts
    listed = await asyncio.to_thread(CliRunner().invoke, commands, ["events", "--malformed"])
    assert SECRET_WORDS not in listed.stdout


async def test_a_body_that_nobody_signed_is_not_kept(kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        wrong = {"X-Kombo-Signature": "x" * 43}
        assert (await client.post("/kombo/webhooks", content=b"{}", headers=wrong)).status_code == 401
    assert kept() == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"id":"n","type":"other","data":{"a":NaN}}', 422),
        (b'{"id":"n","type":"other","data":{"a":-Infinity}}', 422),
        (b'{"id":"n","type":"other","data":{"a":1e999}}', 204),
        (b'{"id":"n","type":"other","data":{"a":1' + b"0" * 400 + b"}}", 204),
        (b'{"id":"n","type":"other","data":{"a":1' + b"0" * 5000 + b"}}", 204),
        (b'{"id":"n","type":"other","data":null}', 204),
        (b'{"id":"n","type":"other","data":[1]}', 422),
        (b'{"id":"n","type":"other","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 422),
        (b'{"id":"n","type":"integration-created","data":null}', 422),
        (b'{"id":"n","type":"integration-created","data":{"id":"a:1","tool":"a","score":1e999}}', 204),
        (
            b'{"id":"n","type":"integration-created","data":{"id":"a:1","tool":"a","end_user":{"origin_id":"'
            + b"f0" * 1500
            + b'"}}}',
            422,
        ),
    ],
)
async def test_what_is_unusual_is_kept_as_far_as_any_database_can(
    body: bytes, status: int, kombo: httpx.AsyncBaseTransport, database_url: str
) -> None:
    app, _ = make_host(kombo, database_url=database_url)
    async with running(app) as client:
        assert (await deliver(client, body)).status_code == status
        assert (await deliver(client, body)).status_code == status
