"""Handlers come and go: their deliveries are parked, listed and brought back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import select, update

from kombo_embed.deliveries import MISSING_SECONDS, EventHandlers
from kombo_embed.events.upkeep import REGISTER_SECONDS, SEARCH_SECONDS, Upkeep
from kombo_embed.store.store import Store
from kombo_embed.store.support import RecordsReader
from kombo_embed.store.tables import deliveries, handlers
from tests.store.samples import created, opened_store, state_changed, taken_events
from tests.support import SQLITE_URL, ManualClock

CONNECTED = "integration.connected"


class App:
    """A process with these handlers, by name."""

    def __init__(self, store: Store, clock: ManualClock, **types: str) -> None:
        self.handlers = EventHandlers()
        for name, event_type in types.items():
            self.handlers.add(event_type, print, name=name)
        self.woken = 0
        self.upkeep = Upkeep(store.outbox, self.handlers, clock=clock, wake=self.wake)

    def wake(self) -> None:
        self.woken += 1


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[Store]:
    async with opened_store(SQLITE_URL, clock=clock) as store:
        yield store


@asynccontextmanager
async def opened_records(clock: ManualClock) -> AsyncIterator[RecordsReader]:
    async with RecordsReader(SQLITE_URL, environment="default", clock=clock).opened() as records:
        yield records


async def states(clock: ManualClock) -> list[tuple[str, str]]:
    async with opened_records(clock) as records:
        events = await records.events(delivered=True, limit=9) or []
        return [(one.handler, one.state) for event in events for one in event.deliveries]


async def test_a_handler_that_no_process_has_for_a_day_is_parked_and_brought_back_under_its_new_name(
    store: Store, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    await App(store, clock, before=CONNECTED).upkeep.run_once()
    await store.save_event(*created())
    renamed = App(store, clock, after="kombo.event")
    await renamed.upkeep.run_once()
    clock.advance(MISSING_SECONDS - 1)
    await renamed.upkeep.run_once()
    assert await states(clock) == [("before", "waiting")]
    clock.advance(SEARCH_SECONDS)
    await renamed.upkeep.run_once()
    assert await states(clock) == [("before", "parked")]
    assert renamed.woken == 1
    [record] = [record for record in caplog.records if record.getMessage() == "handler.missing"]
    assert (vars(record)["handler"], vars(record)["event_type"], vars(record)["count"]) == (
        "before",
        CONNECTED,
        1,
    )
    assert "events replay --handler 'before' --as NEW_NAME" in vars(record)["remedy"]
    # Events written from now on are parked, too, until someone says what became of the handler.
    await store.save_event(*created("e2", integration_id="personio:y"))
    clock.advance(SEARCH_SECONDS)
    await renamed.upkeep.run_once()
    async with opened_records(clock) as records:
        assert await records.missing_handlers() == [("before", CONNECTED)]
        assert len(await records.replay_handler("before", new_name="after")) == 2
        assert await records.missing_handlers() == []
    assert await states(clock) == [("after", "waiting")] * 2
    # Nothing is written for the old name any more.
    await store.save_event(*created("e3", integration_id="personio:z"))
    assert (await states(clock))[0] == ("", "no handler")


async def test_a_process_that_starts_with_parked_deliveries_logs_the_command_that_brings_them_back(
    store: Store, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    await App(store, clock, sync=CONNECTED).upkeep.run_once()
    await store.save_event(*created())
    other = App(store, clock, other=CONNECTED)
    clock.advance(MISSING_SECONDS + 1)
    clock.advance(REGISTER_SECONDS)
    await other.upkeep.run_once()
    back = App(store, clock, sync=CONNECTED)
    await back.upkeep.run_once()
    await back.upkeep.run_once()
    [record] = [record for record in caplog.records if record.getMessage() == "handler.parked"]
    assert (vars(record)["handler"], vars(record)["count"]) == ("sync", 1)
    assert "kombo-embed events replay --handler 'sync'" in vars(record)["remedy"]
    async with opened_records(clock) as records:
        assert len(await records.replay_handler("sync")) == 1
    assert await states(clock) == [("sync", "waiting")]


async def test_a_process_that_slept_does_not_park_its_own_handlers(store: Store, clock: ManualClock) -> None:
    app = App(store, clock, sync=CONNECTED)
    await app.upkeep.run_once()
    await store.save_event(*created())
    clock.advance(2 * MISSING_SECONDS)
    await app.upkeep.run_once()
    assert await states(clock) == [("sync", "waiting")]


async def test_handlers_are_registered_again_from_time_to_time_and_new_ones_at_once(
    store: Store, clock: ManualClock
) -> None:
    async def seen() -> dict[str, float]:
        async with store._database.reading() as connection:  # noqa: SLF001 - to look without registering
            rows = await connection.execute(select(handlers.c.handler, handlers.c.last_seen_at))
            return {row.handler: row.last_seen_at.timestamp() - start for row in rows}

    start = clock.time()
    app = App(store, clock, sync=CONNECTED)
    await app.upkeep.register()
    clock.advance(REGISTER_SECONDS - 1)
    await app.upkeep.register()
    assert await seen() == {"sync": 0}
    app.handlers.add("kombo.event", print, name="late")
    await app.upkeep.register()
    assert await seen() == {"sync": 599, "late": 599}
    clock.advance(REGISTER_SECONDS)
    await app.upkeep.register()
    assert await seen() == {"sync": 1199, "late": 1199}


async def test_a_lane_that_lost_its_head_is_found_and_goes_on(store: Store, clock: ManualClock) -> None:
    app = App(store, clock, sync=CONNECTED, more="integration.updated")
    app.handlers.add("integration.updated", print, name="sync")
    await app.upkeep.run_once()
    await store.save_event(*created())
    await store.save_event(*state_changed("s1", "ACTIVE"))
    async with store._database.writing() as connection:  # noqa: SLF001 - what must not happen
        await connection.execute(update(deliveries).where(deliveries.c.handler == "sync").values(due_at=None))
    slots = {"sync": 1}
    now = store._now()  # noqa: SLF001 - the clock's
    assert await store.outbox.take(slots, now=now, lease_seconds=10) == []
    await app.upkeep.run_once()
    assert app.woken == 1
    found = taken_events(await store.outbox.take(slots, now=now, lease_seconds=10))
    assert [event.type for event in found] == [CONNECTED, "integration.updated"]


async def test_every_lane_is_looked_at_in_turn(store: Store, clock: ManualClock) -> None:
    app = App(store, clock, sync=CONNECTED)
    await app.upkeep.run_once()
    for number in range(650):
        await store.save_event(*created(f"c{number}", integration_id=f"personio:{number}"))
    async with store._database.writing() as connection:  # noqa: SLF001 - what must not happen
        await connection.execute(update(deliveries).values(due_at=None))
    for _ in range(3):
        await app.upkeep.run_once()
    assert app.woken == 3
    taken = await store.outbox.take({"sync": 1000}, now=store._now(), lease_seconds=10)  # noqa: SLF001 - as above
    assert len(taken) == 650
