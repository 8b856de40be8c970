"""What the previous version wrote into its outbox is delivered by this version, once and in order."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, select, update

from kombo_embed.deliveries import Delivery, DeliveryOutcome
from kombo_embed.store.store import Store
from kombo_embed.store.tables import ended_deliveries, outbox
from tests.store.samples import NOW, created, register, state_changed, taken_events

HOUR = timedelta(hours=1)
# As the previous version writes it, in the form of its release.
INTEGRATION = {
    "integration_id": "personio:x",
    "public_id": "public",
    "origin_id": "acme",
    "tool": "personio",
    "category": None,
    "organization_name": "Acme",
    "email": "ada@acme.example",
    "status": None,
    "setup_status": None,
    "connected_at": NOW.isoformat(),
    "updated_at": NOW.isoformat(),
}


async def write_old(store: Store, *numbers: int, **values: Any) -> None:
    """Write events as the previous version does."""
    rows = [
        {
            "environment": "default",
            "event_id": secrets.token_hex(16),
            "type": "kombo.event",
            "origin_id": "acme",
            "integration_id": "personio:x",
            "integration": INTEGRATION,
            "data": {"number": number},
            "occurred_at": NOW,
            "attempts": 0,
            "done_handlers": [],
            "due_at": NOW,
            **values,
        }
        for number in numbers
    ]
    async with store._database.writing() as connection:  # noqa: SLF001 - another version does it
        for row in rows:
            await connection.execute(insert(outbox), row)


async def change_old(store: Store, number: int, **values: Any) -> None:
    """Change an event as a worker of the previous version does."""
    async with store._database.writing() as connection:  # noqa: SLF001 - as above
        rows = (await connection.execute(select(outbox.c.id, outbox.c.data))).all()
        [row_id] = [row.id for row in rows if row.data["number"] == number]
        await connection.execute(update(outbox).where(outbox.c.id == row_id).values(**values))


async def take_all(store: Store, slots: dict[str, int], *, now: datetime = NOW) -> list[Delivery]:
    """Take and make deliveries until nothing is due."""
    made: list[Delivery] = []
    while taken := await store.outbox.take(slots, now=now, lease_seconds=10):
        outcomes = []
        for lane in taken:
            made += lane
            outcomes += [
                DeliveryOutcome(one, successor=successor)
                for one, successor in zip(lane, [*lane[1:], None], strict=True)
            ]
        assert await store.outbox.save(outcomes, now=now, lease_seconds=10) == []
    return made


def numbers(made: list[Delivery]) -> list[object]:
    return [one.event.data.get("number", one.event.type) for one in made]


async def test_the_events_in_the_outbox_are_delivered_in_their_order_before_newer_ones(store: Store) -> None:
    slots = await register(store, "kombo.event", "integration.connected", "integration.updated")
    await write_old(store, *range(150))
    await store.save_event(*created())
    await write_old(store, 150)
    await store.save_event(*state_changed("s1", "ACTIVE"))
    await write_old(store, 151)
    made = await take_all(store, slots)
    expected = [*range(150), "integration.connected", 150, "integration.updated", 151]
    assert numbers(made) == expected
    assert made[0].event.integration is not None
    assert made[0].event.integration.email == "ada@acme.example"
    # The workers of the previous version see nothing to deliver, and a second look finds nothing.
    async with store._database.reading() as connection:  # noqa: SLF001 - to look as they do
        left = select(outbox.c.id).where(outbox.c.delivered_at.is_(None) | outbox.c.lease_owner.is_not(None))
        assert (await connection.execute(left)).all() == []
    assert await take_all(store, slots) == []


async def test_an_event_that_a_worker_has_leased_is_left_to_it_and_blocks_its_integration(
    store: Store,
) -> None:
    slots = await register(store, "kombo.event")
    await write_old(store, 1, 2)
    await write_old(store, 3, integration_id="personio:y")
    ends_at = datetime.now(NOW.tzinfo) + HOUR if is_postgresql(store) else NOW + HOUR
    await change_old(store, 1, lease_owner="old", lease_ends_at=ends_at)
    assert numbers(await take_all(store, slots)) == [3]
    await change_old(store, 1, delivered_at=NOW, lease_owner=None, lease_ends_at=None)
    assert numbers(await take_all(store, slots)) == [2]


async def test_a_new_event_waits_for_an_older_one_that_a_worker_has_leased(store: Store) -> None:
    slots = await register(store, "kombo.event", "integration.connected")
    await write_old(store, 1)
    ends_at = datetime.now(NOW.tzinfo) + HOUR if is_postgresql(store) else NOW + HOUR
    await change_old(store, 1, lease_owner="old", lease_ends_at=ends_at)
    await store.save_event(*created())
    assert await take_all(store, slots) == []
    # The worker dies: its lease ends, and the event is moved to its place before the newer one.
    await change_old(store, 1, lease_ends_at=NOW - HOUR)
    assert numbers(await take_all(store, slots)) == [1, "integration.connected"]


async def test_handlers_that_have_succeeded_are_not_called_again(store: Store) -> None:
    both = await register(store, "kombo.event", name="app.steady") | await register(
        store, "kombo.event", name="app.shaky"
    )
    await write_old(store, 1, done_handlers=["app.steady"], attempts=4, failures=3)
    [made] = await take_all(store, both)
    assert (made.handler, made.attempts, made.failures) == ("app.shaky", 5, 3)


async def test_an_event_that_fails_keeps_its_backoff(store: Store) -> None:
    slots = await register(store, "kombo.event")
    due_at = datetime.now(NOW.tzinfo) + HOUR if is_postgresql(store) else NOW + HOUR
    await write_old(store, 1, due_at=due_at, attempts=1, failures=1)
    assert await take_all(store, slots) == []
    if not is_postgresql(store):
        assert numbers(await take_all(store, slots, now=due_at)) == [1]


async def test_a_dead_letter_stays_one_and_blocks_nothing(store: Store) -> None:
    slots = await register(store, "kombo.event")
    await write_old(store, 1, given_up_at=NOW, failures=20)
    await write_old(store, 2)
    assert numbers(await take_all(store, slots)) == [2]
    async with store._database.reading() as connection:  # noqa: SLF001 - what the command lists
        rows = (
            await connection.execute(select(ended_deliveries.c.outcome, ended_deliveries.c.failures))
        ).all()
    assert sorted((row.outcome, row.failures) for row in rows) == [("dead", 20), ("delivered", 0)]


async def test_events_without_a_handler_wait_for_the_first_handlers_of_their_type(store: Store) -> None:
    slots = await register(store, "flow.failed", name="other")
    await write_old(store, 1, 2)
    assert await take_all(store, slots) == []
    await store.save_event(*created())
    late = await register(store, "kombo.event", "integration.connected", name="late")
    assert numbers(await take_all(store, late)) == [1, 2, "integration.connected"]


async def test_a_large_backlog_without_a_handler_is_claimed_in_order(store: Store) -> None:
    for number in range(3):
        await store.save_event(*created(f"c{number}", integration_id=f"personio:{number}"))
        for status in ("ACTIVE", "INVALID") * 30:
            event, report = state_changed(f"{number} {secrets.token_hex(4)}", status, f"personio:{number}")
            await store.save_event(event, report)
    slots = await register(store, "integration.connected", "integration.updated")
    taken = await store.outbox.take(slots, now=NOW, lease_seconds=10)
    assert len(taken_events(taken)) <= 100
    by_lane: dict[str | None, list[int]] = {}
    outcomes = [
        DeliveryOutcome(one, successor=successor)
        for lane in taken
        for one, successor in zip(lane, [*lane[1:], None], strict=True)
    ]
    await store.outbox.save(outcomes, now=NOW, lease_seconds=10)
    for one in [*(one for lane in taken for one in lane), *await take_all(store, slots)]:
        by_lane.setdefault(one.lane, []).append(one.event_row_id)
    assert sum(map(len, by_lane.values())) == 183
    assert all(rows == sorted(rows) for rows in by_lane.values())


def is_postgresql(store: Store) -> bool:
    return store._database.backend.engine.dialect.name == "postgresql"  # noqa: SLF001 - its clock counts there


async def test_the_end_of_an_earlier_delivery_does_not_ready_one_behind_a_workers_event(store: Store) -> None:
    slots = await register(store, "kombo.event", "integration.connected", "integration.updated")
    await store.save_event(*created())
    [[first]] = await store.outbox.take(slots, now=NOW, lease_seconds=10)
    await write_old(store, 1)
    ends_at = datetime.now(NOW.tzinfo) + HOUR if is_postgresql(store) else NOW + HOUR
    await change_old(store, 1, lease_owner="old", lease_ends_at=ends_at)
    await store.save_event(*state_changed("s1", "ACTIVE"))
    await store.outbox.save([DeliveryOutcome(first)], now=NOW, lease_seconds=10)
    assert await take_all(store, slots) == []
    await change_old(store, 1, lease_ends_at=NOW - HOUR)
    assert numbers(await take_all(store, slots)) == [1, "integration.updated"]
