from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert

from kombo_embed import Event
from kombo_embed.errors import StoreUnavailable
from kombo_embed.events.dispatcher import LEASE_SECONDS, MAX_FAILURES, Dispatcher
from kombo_embed.ports import Clock, Delivery, DeliveryOutcome, EventHandler
from kombo_embed.store.store import Store
from kombo_embed.store.support import RecordsReader
from kombo_embed.store.tables import outbox
from kombo_embed.upstream import ReportedIntegration
from tests.support import ManualClock, eventually

URL = "sqlite+aiosqlite:///kombo_embed.db"
EVENT = Event("e1", "integration.connected", datetime(2026, 1, 1, tzinfo=UTC), "acme", None)


class OneEventOutbox:
    """Gives one event to the dispatcher, and again after each failure."""

    def __init__(self) -> None:
        self.waiting: Delivery | None = Delivery(1, EVENT, 1, ())
        self.delivered = asyncio.Event()
        self.dead = asyncio.Event()
        self.outcomes: list[DeliveryOutcome] = []
        self.deferred: list[tuple[Delivery, datetime]] = []
        self.released: list[Delivery] = []
        self.takes = 0

    async def take(
        self, types: Sequence[str], *, limit: int, now: datetime, lease_seconds: float
    ) -> list[Delivery]:
        del limit, now, lease_seconds
        self.takes += 1
        if self.waiting is None or EVENT.type not in types:
            return []
        taken, self.waiting = self.waiting, None
        return [taken]

    async def renew(self, deliveries: Sequence[Delivery], *, now: datetime, lease_seconds: float) -> None:
        """The leases of this outbox never end."""

    async def save(self, outcomes: Sequence[DeliveryOutcome], *, now: datetime) -> None:
        del now
        for outcome in outcomes:
            self.outcomes.append(outcome)
            if outcome.due_at is None:
                self.delivered.set()
            elif not outcome.dead:
                taken = outcome.delivery
                failures = taken.failures + outcome.failed
                self.waiting = Delivery(1, EVENT, failures + 1, outcome.done_handlers, failures)
            else:
                self.dead.set()

    async def defer(self, delivery: Delivery, *, due_at: datetime) -> None:
        self.deferred.append((delivery, due_at))

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        self.released.extend(deliveries)


async def deliver(*handlers: object) -> OneEventOutbox:
    outbox = OneEventOutbox()
    dispatcher = Dispatcher(outbox, {EVENT.type: list(handlers)}, clock=ManualClock())  # type: ignore[arg-type]
    dispatcher.start()
    async with asyncio.timeout(5):
        await outbox.delivered.wait()
    await dispatcher.aclose()
    return outbox


async def test_async_and_plain_handlers_are_called_and_plain_ones_run_in_threads() -> None:
    seen: list[object] = []

    async def handle(event: Event) -> None:
        seen.append(event)

    def handle_in_thread(event: Event) -> None:
        seen.append(threading.current_thread() is threading.main_thread())
        seen.append(event)

    await deliver(handle, handle_in_thread)
    assert seen == [EVENT, False, EVENT]


async def test_a_handler_that_succeeded_is_not_called_again_because_another_failed() -> None:
    calls: list[str] = []

    async def steady(_event: Event) -> None:
        calls.append("steady")

    async def shaky(_event: Event) -> None:
        calls.append("shaky")
        if calls.count("shaky") < 3:
            raise RuntimeError("not yet")

    outbox = await deliver(steady, shaky)
    assert calls == ["steady", "shaky", "shaky", "shaky"]
    failures = [outcome for outcome in outbox.outcomes if outcome.due_at]
    assert all(len(one.done_handlers) == 1 for one in failures)
    assert all(one.done_handlers[0].endswith("steady") for one in failures)
    waits = [one.due_at.timestamp() - ManualClock().time() for one in failures if one.due_at]
    assert waits == [2.0, 4.0]


async def test_without_a_handler_the_outbox_is_not_read() -> None:
    outbox = OneEventOutbox()
    dispatcher = Dispatcher(outbox, {EVENT.type: []}, clock=ManualClock())
    dispatcher.start()
    dispatcher.wake()
    await asyncio.sleep(0)
    await dispatcher.aclose()
    assert outbox.takes == 0


async def test_a_hanging_handler_is_cancelled_at_shutdown_and_its_event_released() -> None:
    outbox, entered = OneEventOutbox(), asyncio.Event()

    async def hang(_event: Event) -> None:
        entered.set()
        await asyncio.Event().wait()

    dispatcher = Dispatcher(outbox, {EVENT.type: [hang]}, clock=ManualClock())
    dispatcher.start()
    async with asyncio.timeout(5):
        await entered.wait()
        await dispatcher.aclose()
    assert not outbox.delivered.is_set()
    # The next dispatcher need not wait for the lease to expire.
    assert [delivery.event for delivery in outbox.released] == [EVENT]


async def test_a_handler_that_succeeded_is_not_called_again_after_a_restart_because_another_hung() -> None:
    calls: list[str] = []
    stuck = asyncio.Event()

    async def steady(_event: Event) -> None:
        calls.append("steady")

    async def hang(_event: Event) -> None:
        calls.append("hang")
        await stuck.wait()

    async with store_with_events(1) as store:
        handlers: dict[str, list[EventHandler]] = {"kombo.event": [steady, hang]}
        await run_until(store, handlers, lambda: len(calls) == 2)
        stuck.set()
        await run_until(store, handlers, lambda: len(calls) == 3)
    assert sorted(calls) == ["hang", "hang", "steady"]


async def test_a_success_is_saved_while_another_handler_still_hangs() -> None:
    saved = asyncio.Event()

    class Watched(OneEventOutbox):
        async def renew(self, deliveries: Sequence[Delivery], *, now: datetime, lease_seconds: float) -> None:
            del now
            assert lease_seconds == LEASE_SECONDS
            if any(name.endswith("steady") for one in deliveries for name in one.done_handlers):
                saved.set()

    async def steady(_event: Event) -> None:
        """Return at once."""

    async def hang(_event: Event) -> None:
        await asyncio.Event().wait()

    dispatcher = Dispatcher(
        Watched(), {EVENT.type: [steady, hang]}, clock=ManualClock(), heartbeat_seconds=0.01
    )
    dispatcher.start()
    async with asyncio.timeout(5):
        await saved.wait()
    await dispatcher.aclose()


async def test_a_hanging_handler_delays_neither_other_handlers_nor_other_events() -> None:
    seen: list[Event] = []
    stuck = asyncio.Event()

    async def hang(_event: Event) -> None:
        await stuck.wait()

    async with store_with_events(300) as store:
        dispatcher = Dispatcher(
            store.outbox,
            {"integration.connected": [hang, seen.append], "kombo.event": [seen.append]},
            clock=time,
        )
        dispatcher.start()
        await eventually(lambda: len(seen) >= 200, seconds=60)
        await dispatcher.aclose()
    assert len({event.id for event in seen}) == len(seen)


async def test_a_hanging_plain_handler_delays_neither_other_handlers_nor_the_exit() -> None:
    seen: list[Event] = []
    stuck = threading.Event()

    def hang(_event: Event) -> None:
        stuck.wait()

    async with store_with_events(100) as store:
        handlers: dict[str, list[EventHandler]] = {"integration.connected": [hang, seen.append]}
        dispatcher = Dispatcher(store.outbox, handlers, clock=time)
        dispatcher.start()
        await eventually(lambda: len(seen) >= 100, seconds=60)
        hanging = [thread for thread in threading.enumerate() if thread.name == "kombo-embed handler"]
        assert 0 < len(hanging) <= 60
        assert all(thread.daemon for thread in hanging)
        await dispatcher.aclose()
        stuck.set()
        for thread in hanging:
            thread.join()


async def test_a_backlog_of_three_hundred_events_is_delivered_once_each() -> None:
    seen: list[Event] = []
    async with store_with_events(300) as store:
        dispatcher = Dispatcher(store.outbox, {"integration.connected": [seen.append]}, clock=time)
        dispatcher.start()
        await eventually(lambda: len(seen) == 300, seconds=60)
        await dispatcher.aclose()
    assert len({event.id for event in seen}) == 300


async def test_an_event_whose_handler_keeps_failing_becomes_a_dead_letter_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[str] = []

    async def steady(_event: Event) -> None:
        calls.append("steady")

    async def broken(_event: Event) -> None:
        calls.append("broken")
        raise RuntimeError

    outbox = OneEventOutbox()
    dispatcher = Dispatcher(outbox, {EVENT.type: [steady, broken]}, clock=ManualClock())
    dispatcher.start()
    async with asyncio.timeout(20):
        await outbox.dead.wait()
    await dispatcher.aclose()
    assert (calls.count("steady"), calls.count("broken")) == (1, MAX_FAILURES)
    assert [outcome.dead for outcome in outbox.outcomes] == [False] * (MAX_FAILURES - 1) + [True]
    waits = [one.due_at.timestamp() - ManualClock().time() for one in outbox.outcomes if one.due_at]
    assert waits[:3] == [2.0, 4.0, 8.0]
    assert max(waits) == 3600
    assert 8 * 3600 < sum(waits[:-1]) < 10 * 3600
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage() == "hook.dead_letter"
    assert f"kombo-embed events replay {EVENT.id}" in vars(record)["remedy"]


async def test_a_dead_letter_blocks_no_later_event_and_its_replay_calls_only_the_failed_handler() -> None:
    calls: list[tuple[str, str]] = []
    broken = True

    async def steady(event: Event) -> None:
        calls.append(("steady", event.type))

    async def shaky(event: Event) -> None:
        if broken and event.type == "integration.connected":
            raise RuntimeError
        calls.append(("shaky", event.type))

    clock = ManualClock()
    async with opened_store(clock) as store:
        reported = ReportedIntegration("personio:x", "personio", "acme", "Acme", None)
        await store.save_completion(reported, activation_token="t", origin_id="acme")
        [integration] = await store.find_integrations("acme")
        await store.save_deleted(integration)
        both = {"integration.connected": [steady, shaky], "integration.deleted": [shaky]}
        dispatcher = Dispatcher(store.outbox, both, clock=clock)
        dispatcher.start()
        while ("shaky", "integration.deleted") not in calls:
            clock.advance(3600)
            dispatcher.wake()
            await asyncio.sleep(0.05)  # for the outcome to be saved before its lease ends
        assert calls == [("steady", "integration.connected"), ("shaky", "integration.deleted")]
        broken = False
        async with RecordsReader(URL, environment="default", clock=clock).opened() as records:
            [dead] = [one for one in await records.events(delivered=False, limit=9) if one.given_up_at]
            assert await records.replay([dead.id[:8], "nonsense"]) == ([dead.id], ["nonsense"])
        dispatcher.wake()
        await eventually(lambda: len(calls) == 3)
        await dispatcher.aclose()
    assert calls[2] == ("shaky", "integration.connected")


@pytest.mark.parametrize(
    ("crashes", "pause"), [(1, 2), (2, 4), (5, 30), (20, 30), (21, 60), (22, 120), (30, 3600), (5000, 3600)]
)
async def test_an_event_whose_process_died_is_redelivered_soon_at_first_and_rarely_in_the_end(
    crashes: int, pause: float
) -> None:
    outbox = OneEventOutbox()
    outbox.waiting = Delivery(1, EVENT, crashes + 2, (), failures=1)

    async def work(_event: Event) -> None:
        assert len(outbox.deferred) == 1

    dispatcher = Dispatcher(outbox, {EVENT.type: [work]}, clock=ManualClock())
    dispatcher.start()
    async with asyncio.timeout(5):
        await outbox.delivered.wait()
    await dispatcher.aclose()
    [(_, due_at)] = outbox.deferred
    assert due_at.timestamp() - ManualClock().time() == pause


async def test_a_handler_that_raises_cancelled_error_has_failed() -> None:
    calls: list[str] = []

    async def cancelled(_event: Event) -> None:
        calls.append("cancelled")
        if len(calls) == 1:
            raise asyncio.CancelledError

    outbox = await deliver(cancelled)
    assert [outcome.failed for outcome in outbox.outcomes] == [True, False]


async def test_outcomes_during_a_database_outage_are_saved_after_it() -> None:
    calls: list[Event] = []

    class Unsteady(OneEventOutbox):
        async def save(self, outcomes: Sequence[DeliveryOutcome], *, now: datetime) -> None:
            if len(self.deferred) < 3:
                self.deferred.append((outcomes[0].delivery, now))
                raise StoreUnavailable("The database cannot be used.")
            await super().save(outcomes, now=now)

    outbox = Unsteady()
    dispatcher = Dispatcher(outbox, {EVENT.type: [calls.append]}, clock=ManualClock(), poll_seconds=0.01)
    dispatcher.start()
    async with asyncio.timeout(5):
        await outbox.delivered.wait()
    await dispatcher.aclose()
    assert calls == [EVENT]


async def run_until(
    store: Store, handlers: dict[str, list[EventHandler]], condition: Callable[[], bool]
) -> None:
    """Run a dispatcher as one process would, from its start to its end."""
    dispatcher = Dispatcher(store.outbox, handlers, clock=time)
    dispatcher.start()
    await eventually(condition)
    await dispatcher.aclose()


@asynccontextmanager
async def opened_store(clock: Clock) -> AsyncIterator[Store]:
    store = Store(URL, environment="default", clock=clock)
    await store.open()
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def store_with_events(number: int, *, clock: Clock = time) -> AsyncIterator[Store]:
    """Open a store with two events, of different types, for each of ``number`` integrations."""
    now = datetime.fromtimestamp(clock.time(), UTC)
    rows: list[dict[str, object]] = [
        {
            "environment": "default",
            "event_id": f"{type_} {one}",
            "type": type_,
            "integration_id": f"personio:{type_}:{one}",
            "data": {},
            "occurred_at": now,
            "due_at": now,
            "attempts": 0,
            "done_handlers": [],
        }
        for type_ in ("integration.connected", "kombo.event")
        for one in range(number)
    ]
    async with opened_store(clock) as store:
        async with store._database.writing() as connection:  # noqa: SLF001 - many at once
            await connection.execute(insert(outbox), rows)
        yield store
