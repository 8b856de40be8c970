"""An event of Kombo's that is recorded already is answered without the database; any other is not."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from kombo_embed.kombo.webhooks import sign
from kombo_embed.redeliveries import KEPT, KEPT_SECONDS, Redeliveries
from tests.support import WEBHOOK_SECRET, ManualClock, make_host, running


async def deliver(client: httpx.AsyncClient, event_id: str, **data: object) -> int:
    body = json.dumps({"id": event_id, "type": "data-changed", "data": data}).encode()
    headers = {"X-Kombo-Signature": sign(body, WEBHOOK_SECRET)}
    return (await client.post("/kombo/webhooks", headers=headers, content=body)).status_code


async def test_while_the_database_is_gone_what_it_holds_already_is_answered_and_nothing_else(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        assert await deliver(client, "first") == 204
        Path("kombo_embed.db").rename("gone.db")  # noqa: ASYNC240 - nothing else runs here
        assert [await deliver(client, "second") for _ in range(2)] == [503, 503]
        assert await deliver(client, "first") == 204
        assert await deliver(client, "first", x=1) == 204  # Kombo's id says that it is the same
        Path("gone.db").rename("kombo_embed.db")  # noqa: ASYNC240 - as above
        assert await deliver(client, "second") == 204


async def test_a_redelivery_must_be_signed_too(kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        assert await deliver(client, "first") == 204
        body = b'{"id": "first", "type": "data-changed", "data": {}}'
        forged = await client.post("/kombo/webhooks", headers={"X-Kombo-Signature": "x"}, content=body)
    assert forged.status_code == 401


def test_they_are_forgotten_after_a_while_and_when_there_are_too_many() -> None:
    clock = ManualClock()
    redeliveries = Redeliveries(clock=clock)
    redeliveries.add("first")
    clock.advance(KEPT_SECONDS - 1)
    assert "first" in redeliveries
    clock.advance(1)
    assert "first" not in redeliveries
    for number in range(KEPT + 1):
        redeliveries.add(str(number))
    assert "0" not in redeliveries
    assert str(KEPT) in redeliveries
