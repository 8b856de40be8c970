"""``POST /webhooks``: signatures, storage and malformed events."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from kombo_embed.kombo.webhooks import sign
from tests.support import WEBHOOK_SECRET, ManualClock, eventually, make_host, running

CREATED = {
    "id": "event-1",
    "type": "integration-created",
    "data": {
        "id": "personio:abc",
        "tool": "personio",
        "category": "ATS",
        "end_user": {"origin_id": "acme", "creator_email": "ada@acme.example", "organization_name": "Acme"},
    },
}


def signed(event: dict[str, Any], secret: str = WEBHOOK_SECRET) -> dict[str, Any]:
    body = json.dumps(event, indent=2).encode()
    return {"content": body, "headers": {"X-Kombo-Signature": sign(body, secret)}}


async def test_a_signed_event_is_recorded_before_the_response(kombo: httpx.AsyncBaseTransport) -> None:
    app, embed = make_host(kombo)
    async with running(app) as client:
        for _ in range(3):
            response = await client.post("/kombo/webhooks", **signed(CREATED))
            assert (response.status_code, response.content) == (204, b"")
        found = await embed.integrations("acme")
    assert [(i.integration_id, i.category, i.tool) for i in found] == [("personio:abc", "ATS", "personio")]
    with closing(sqlite3.connect("kombo_embed.db")) as database, database:
        rows = database.execute("select environment, origin_id from kombo_embed_integrations").fetchall()
    assert rows == [("default", "acme")]


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
async def test_the_content_type_is_ignored(content_type: str, kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo)
    request = signed(CREATED)
    request["headers"]["Content-Type"] = content_type
    async with running(app) as client:
        assert (await client.post("/kombo/webhooks", **request)).status_code == 204


@pytest.mark.parametrize("type_", ["sync-finished", "integration-sneezed", "data-changed"])
async def test_events_of_other_types_are_stored_and_acknowledged(
    type_: str, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo)
    event = {"id": "event-2", "type": type_, "data": {"whatever": [1, 2]}, "new_key": True}
    async with running(app) as client:
        for _ in range(2):
            assert (await client.post("/kombo/webhooks", **signed(event))).status_code == 204
    with closing(sqlite3.connect("kombo_embed.db")) as database, database:
        received = database.execute("select event_id, type from kombo_embed_received_events").fetchall()
        outgoing = database.execute("select type from kombo_embed_events").fetchall()
    assert received == [("event-2", type_)]
    assert outgoing == [("kombo.event",)]


@pytest.mark.parametrize("secret", ["old", "new"])
async def test_during_a_rotation_either_secret_is_accepted(
    secret: str, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo, webhook_secret="old,new")
    async with running(app) as client:
        assert (await client.post("/kombo/webhooks", **signed(CREATED, secret))).status_code == 204


async def test_the_signature_is_verified_before_anything_else(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    app, embed = make_host(kombo)
    good = signed(CREATED)["headers"]["X-Kombo-Signature"]
    body = signed(CREATED)["content"]
    async with running(app) as client:
        for signature in [None, "", good + "=", good[:-1], good.upper(), "é" * 43, f"{good},{good}"]:
            headers = {} if signature is None else {"X-Kombo-Signature": signature.encode()}
            response = await client.post("/kombo/webhooks", content=body, headers=headers)
            assert (response.status_code, response.json()["code"]) == (401, "webhook_rejected")
        broken = await client.post("/kombo/webhooks", content=b"{", headers={"X-Kombo-Signature": good})
        assert broken.status_code == 401
        reserialized = json.dumps(json.loads(body)).encode()
        other = await client.post(
            "/kombo/webhooks", content=reserialized, headers={"X-Kombo-Signature": good}
        )
        assert other.status_code == 401
        assert await embed.integrations("acme") == []


async def test_without_a_secret_every_event_is_rejected(kombo: httpx.AsyncBaseTransport) -> None:
    app, embed = make_host(kombo, webhook_secret=())
    async with running(app) as client:
        response = await client.post("/kombo/webhooks", **signed(CREATED, ""))
        assert (response.status_code, response.json()["code"]) == (503, "webhooks_not_configured")
        assert await embed.integrations("acme") == []


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"type": "x", "data": {}}, "id"),
        ({"id": "1", "type": "integration-created", "data": {"tool": "personio"}}, "data.id"),
        ({"id": "1", "type": "x", "data": "text"}, "data"),
    ],
)
async def test_a_signed_body_that_is_not_an_event_is_a_problem_that_names_the_field(
    event: dict[str, Any], field: str, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        response = await client.post("/kombo/webhooks", **signed(event))
    assert response.status_code == 422
    assert field in [error["field"] for error in response.json()["errors"]]


async def test_a_body_of_over_a_megabyte_is_too_large(kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        headers = {"x-kombo-signature": "not verified before the body is complete"}
        response = await client.post("/kombo/webhooks", headers=headers, content=b"x" * 1_100_000)
    assert response.status_code == 413


@pytest.mark.parametrize(
    ("headers", "secrets", "status"),
    [
        ({}, (WEBHOOK_SECRET,), 401),
        ({"x-kombo-signature": ""}, (WEBHOOK_SECRET,), 401),
        ({"x-kombo-signature": "x"}, (), 503),
        ([("x-kombo-signature", "x"), ("x-kombo-signature", "x")], (WEBHOOK_SECRET,), 401),
        ([("x-kombo-signature", ""), ("x-kombo-signature", "x")], (WEBHOOK_SECRET,), 401),
    ],
)
async def test_a_body_that_cannot_be_verified_is_not_read(
    kombo: httpx.AsyncBaseTransport, headers: Any, secrets: tuple[str, ...], status: int
) -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    app, _ = make_host(kombo, webhook_secret=secrets)
    async with running(app) as client:
        response = await client.post("/kombo/webhooks", headers=headers, content=body())
    assert response.status_code == status


async def test_only_exactly_one_right_signature_is_accepted(kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo)
    body, good = signed(CREATED)["content"], signed(CREATED)["headers"]["X-Kombo-Signature"].encode()
    name = b"x-kombo-signature"
    wrong = [b"x" * 43, "\u00e9".encode(), b"\xff" * 43, b"a" * 1_000_000, b"\xe9" * 1_000_000, good + b"="]
    async with running(app) as client:
        for headers in (
            *([(name, value)] for value in wrong),
            [(name, good), (name, good)],
            [(name, good), (name, b"x")],
            [(name, b"x"), (name, good)],
        ):
            response = await client.post("/kombo/webhooks", content=body, headers=headers)
            assert (response.status_code, response.json()["code"]) == (401, "webhook_rejected")
        accepted = await client.post("/kombo/webhooks", content=body, headers=[(name.upper(), good)])
        assert accepted.status_code == 204


async def test_rejected_webhooks_are_counted_in_one_line_a_minute(
    kombo: httpx.AsyncBaseTransport, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    app, _ = make_host(kombo, clock=clock)

    def lines() -> list[tuple[int, str]]:
        found = [vars(record) for record in caplog.records if record.message == "webhook.rejected"]
        assert all(record["levelname"] == "WARNING" for record in found)
        return [(record["count"], record["reason"]) for record in found]

    async with running(app) as client:
        for _ in range(3):
            assert (await client.post("/kombo/webhooks", **signed(CREATED, "wrong"))).status_code == 401
        assert lines() == [(1, "wrong_signature")]
        clock.advance(60)
        assert (await client.post("/kombo/webhooks", json=CREATED)).status_code == 401
        assert lines()[1:] == [(3, "no_signature")]
        await client.post("/kombo/webhooks", **signed(CREATED, "wrong"))
        assert len(lines()) == 2
    assert lines()[2:] == [(1, "wrong_signature")]


async def test_a_start_without_a_secret_is_logged_and_health_says_so(
    kombo: httpx.AsyncBaseTransport, caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = make_host(kombo, webhook_secret=())
    async with running(app) as client:
        [record] = [one for one in caplog.records if one.message == "webhooks.not_configured"]
        assert (record.levelname, vars(record)["variable"]) == ("WARNING", "KOMBO_WEBHOOK_SECRET")
        assert (await client.post("/kombo/webhooks", **signed(CREATED))).status_code == 503
        health = (await client.get("/kombo/health")).json()
    assert health["webhooks"] == {"configured": False, "last_received_at": None}
    [record] = [one for one in caplog.records if one.message == "webhook.rejected"]
    assert vars(record)["reason"] == "not_configured"


async def test_health_states_when_any_process_received_the_last_valid_webhook(
    kombo: httpx.AsyncBaseTransport, database_url: str
) -> None:
    clock = ManualClock()
    app, _ = make_host(kombo, clock=clock, database_url=database_url)
    other, _ = make_host(kombo, clock=clock, database_url=database_url)
    foreign, _ = make_host(kombo, clock=clock, database_url=database_url, environment="other")
    async with running(app) as client, running(other) as second, running(foreign) as third:
        before = (await client.get("/kombo/health")).json()["webhooks"]
        assert before == {"configured": True, "last_received_at": None}
        await client.post("/kombo/webhooks", **signed(CREATED))
        clock.advance(60)
        await client.post("/kombo/webhooks", **signed(CREATED | {"id": "later", "type": "data-changed"}))
        clock.advance(60)
        await client.post("/kombo/webhooks", **signed(CREATED | {"id": "forged"}, "wrong"))
        expected = datetime.fromtimestamp(clock.time() - 60, UTC)
        for one in (client, second):
            stated = (await one.get("/kombo/health")).json()["webhooks"]["last_received_at"]
            assert stated.endswith("Z")
            assert datetime.fromisoformat(stated) == expected
        assert (await third.get("/kombo/health")).json()["webhooks"]["last_received_at"] is None


async def test_few_large_bodies_are_read_at_a_time_and_small_ones_wait_for_none(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    app, _ = make_host(kombo)
    continued: list[int] = []
    rest = asyncio.Event()
    large = signed(CREATED | {"data": {"text": "x" * 200_000}, "type": "data-changed"})
    signature = {"X-Kombo-Signature": large["headers"]["X-Kombo-Signature"]}

    async def body(number: int, content: bytes) -> AsyncIterator[bytes]:
        yield content[:100_000]
        continued.append(number)
        await rest.wait()
        yield content[100_000:]

    def sent(number: int, content: bytes) -> asyncio.Task[httpx.Response]:
        request = client.post("/kombo/webhooks", headers=signature, content=body(number, content))
        return asyncio.create_task(request)

    async with running(app) as client:
        forged = [sent(number, b"x" * 1_000_000) for number in range(100)]
        real = sent(100, large["content"])
        await eventually(lambda: len(continued) == 32)
        small = await client.post("/kombo/webhooks", **signed(CREATED))
        assert (small.status_code, len(continued)) == (204, 32)
        forged[continued[0]].cancel()  # its sender disconnects
        await eventually(lambda: len(continued) == 33)
        rest.set()
        assert (await real).status_code == 204
        answers = await asyncio.gather(*forged, return_exceptions=True)
    assert [one.status_code for one in answers if isinstance(one, httpx.Response)] == [401] * 99
