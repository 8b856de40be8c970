"""An event is delivered again on request, also after its delivery."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import insert

from kombo_embed.deliveries import DeliveryOutcome
from kombo_embed.store.store import Store
from kombo_embed.store.support import RecordsReader
from kombo_embed.store.tables import outbox
from tests.store.samples import NOW, created, fixed_clock, register, state_changed
from tests.store.test_outbox_drain import HOUR, INTEGRATION

CONNECTED, UPDATED = "integration.connected", "integration.updated"
NAMES = {"sync": 100, "mail": 100}


@pytest.fixture
async def records(store: Store, database_url: str) -> AsyncIterator[RecordsReader]:
    del store  # it creates the tables
    async with RecordsReader(database_url, environment="default", clock=fixed_clock()).opened() as records:
        yield records


async def register_both(store: Store) -> None:
    for name in NAMES:
        await register(store, CONNECTED, UPDATED, name=name, now=NOW + HOUR)


async def deliver(store: Store, *, error: str | None = None) -> list[tuple[str, str]]:
    """Deliver all that is due; return the handlers and types in the order of the calls.

    With ``error``, every delivery becomes a dead letter.
    """
    delivered: list[tuple[str, str]] = []
    while lanes := await store.outbox.take(NAMES, now=NOW + HOUR, lease_seconds=10):
        for lane in sorted(lanes, key=lambda lane: lane[0].handler):
            for one, successor in zip(lane, [*lane[1:], None], strict=True):
                outcome = DeliveryOutcome(one, error, successor=successor)
                await store.outbox.save([outcome], now=NOW + HOUR, lease_seconds=10)
                delivered.append((one.handler, one.event.type))
    return delivered


async def resend(records: RecordsReader, event_id: str, handler: str | None = None) -> list[str]:
    resent = await records.resend(event_id, handler=handler)
    assert resent is not None
    assert resent[0].startswith(event_id)
    return resent[1]


async def newest_id(records: RecordsReader) -> str:
    found = await records.events(delivered=True, limit=1)
    assert found is not None
    return found[0].id


async def test_a_delivered_event_is_delivered_again_to_each_handler_or_one(
    store: Store, records: RecordsReader
) -> None:
    await register_both(store)
    await store.save_event(*created())
    assert await deliver(store) == [("mail", CONNECTED), ("sync", CONNECTED)]
    assert await deliver(store) == []
    event_id = await newest_id(records)
    assert await resend(records, event_id[:10]) == ["mail", "sync"]
    assert await deliver(store) == [("mail", CONNECTED), ("sync", CONNECTED)]
    assert await resend(records, event_id, "sync") == ["sync"]
    assert await deliver(store) == [("sync", CONNECTED)]
    assert await resend(records, event_id, "unknown") == []
    assert await deliver(store) == []


async def test_an_event_is_resent_after_what_is_being_delivered_and_not_twice(
    store: Store, records: RecordsReader
) -> None:
    await register_both(store)
    await store.save_event(*created())
    await deliver(store)
    event_id = await newest_id(records)
    await store.save_event(*state_changed("e2", "INVALID"))
    for _ in range(2):
        await resend(records, event_id, "sync")
    assert await deliver(store) == [("mail", UPDATED), ("sync", UPDATED), ("sync", CONNECTED)]


async def test_a_dead_letter_and_a_waiting_event_are_delivered_once_after_a_resend(
    store: Store, records: RecordsReader
) -> None:
    await register_both(store)
    await store.save_event(*created())
    assert len(await deliver(store, error="RuntimeError")) == 2
    await resend(records, await newest_id(records), "mail")
    assert await deliver(store) == [("mail", CONNECTED)]
    await store.save_event(*state_changed("e2", "INVALID"))
    await resend(records, await newest_id(records))
    assert await deliver(store) == [("mail", UPDATED), ("sync", UPDATED)]


async def test_an_event_without_a_handler_is_not_resent_before_one_is_registered(
    store: Store, records: RecordsReader
) -> None:
    await store.save_event(*created())
    event_id = await newest_id(records)
    assert await resend(records, event_id) == []
    await register_both(store)
    assert await resend(records, event_id, "sync") == ["sync"]
    assert await deliver(store) == [("mail", CONNECTED), ("sync", CONNECTED)]


async def test_an_event_that_an_earlier_version_delivered_is_delivered_again(
    store: Store, records: RecordsReader
) -> None:
    await register_both(store)
    row = {
        "environment": "default",
        "event_id": "0" * 32,
        "type": CONNECTED,
        "origin_id": "acme",
        "integration_id": "personio:x",
        "integration": INTEGRATION,
        "data": {},
        "occurred_at": NOW,
        "due_at": NOW,
        "delivered_at": NOW,
        "attempts": 1,
        "failures": 0,
        "done_handlers": ["mail", "sync"],
    }
    async with store._database.writing() as connection:  # noqa: SLF001 - as the earlier version did
        await connection.execute(insert(outbox).values(**row))
    assert await deliver(store) == []
    assert await resend(records, "0" * 32, "sync") == ["sync"]
    assert await deliver(store) == [("sync", CONNECTED)]
