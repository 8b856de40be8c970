from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kombo_embed import Event, Integration
from kombo_embed.deliveries import Delivery, DeliveryOutcome, EventHandler, EventHandlers
from kombo_embed.errors import StoreUnavailable
from kombo_embed.events.dispatcher import (
    LEASE_SECONDS,
    MAX_FAILURES,
    POSTPONE_SECONDS,
    SLOTS,
    Dispatcher,
)
from kombo_embed.events.handler import HandlerRunner
from kombo_embed.ports import Clock
from kombo_embed.store.outbox import write_event
from kombo_embed.store.store import Store
from kombo_embed.store.support import RecordsReader
from kombo_embed.store.transaction import Transaction
from kombo_embed.upstream import ReportedIntegration
from tests.support import ManualClock, eventually

URL = "sqlite+aiosqlite:///kombo_embed.db"
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
EVENT = Event("e1", "integration.connected", NEW_YEAR, "acme", None)
INTEGRATION = Integration(
    "personio:x", "public", "acme", "personio", None, None, None, None, None, NEW_YEAR, NEW_YEAR
)


NAME = "handler"


class OneEventOutbox:
    """Gives one event to the dispatcher, and again after each failure."""

    def __init__(self) -> None:
        self.waiting: Delivery | None = delivery()
        self.delivered = asyncio.Event()
        self.dead = asyncio.Event()
        self.outcomes: list[DeliveryOutcome] = []
        self.deferred: list[float] = []
        self.released: list[Delivery] = []
        self.takes = 0

    async def take(
        self, slots: Mapping[str, int], *, now: datetime, lease_seconds: float
    ) -> list[list[Delivery]]:
        del now, lease_seconds
        self.takes += 1
        if self.waiting is None or self.waiting.handler not in slots:
            return []
        taken, self.waiting = self.waiting, None
        return [[taken]]

    async def renew(self, deliveries: Iterable[Delivery], *, now: datetime, lease_seconds: float) -> None:
        """The leases of this outbox never end."""

    async def save(
        self, outcomes: Sequence[DeliveryOutcome], *, now: datetime, lease_seconds: float
    ) -> list[DeliveryOutcome]:
        del now, lease_seconds
        for outcome in outcomes:
            self.outcomes.append(outcome)
            if outcome.retry_seconds is not None:
                failures = outcome.delivery.failures + (outcome.error is not None)
                self.waiting = replace(outcome.delivery, attempts=failures + 1, failures=failures)
            else:
                (self.dead if outcome.is_dead else self.delivered).set()
        return []

    async def defer(self, delivery: Delivery, *, now: datetime, seconds: float) -> None:
        del delivery, now
        self.deferred.append(seconds)

    async def release(self, deliveries: Iterable[Delivery], *, now: datetime) -> None:
        del now
        self.released.extend(deliveries)

    async def register(self, types_by_name: Mapping[str, Sequence[str]], *, now: datetime) -> dict[str, int]:
        del types_by_name, now
        return {}

    async def find_missing(
        self, own: Iterable[str], *, now: datetime, seconds: float
    ) -> list[tuple[str, str]]:
        del own, now, seconds
        return []

    async def park(self, name: str, event_type: str, *, now: datetime) -> int:
        del name, event_type, now
        return 0

    async def ready_lanes(self, *, now: datetime) -> int:
        del now
        return 0


def delivery(attempts: int = 1, failures: int = 0, event: Event = EVENT) -> Delivery:
    return Delivery(
        row_id=1,
        event_row_id=1,
        handler=NAME,
        lane=None,
        event=event,
        attempts=attempts,
        failures=failures,
        lease_owner="me",
    )


def handlers_of(event_type: str, *handlers: EventHandler) -> EventHandlers:
    """Return handlers of one type; the first one's name is `NAME`."""
    added = EventHandlers()
    for number, handler in enumerate(handlers):
        added.add(event_type, handler, name=NAME if number == 0 else f"{NAME} {number}")
    return added


@asynccontextmanager
async def dispatching(dispatcher: Dispatcher) -> AsyncIterator[None]:
    await dispatcher.start()
    try:
        async with asyncio.timeout(30):
            yield
    finally:
        await dispatcher.aclose()


async def deliver(handler: EventHandler) -> OneEventOutbox:
    outbox = OneEventOutbox()
    async with dispatching(Dispatcher(outbox, handlers_of(EVENT.type, handler), clock=ManualClock())):
        await outbox.delivered.wait()
    return outbox


async def test_async_and_plain_handlers_are_called_and_plain_ones_run_in_threads() -> None:
    seen: list[object] = []

    async def handle(event: Event) -> None:
        seen.append(event)

    def handle_in_thread(event: Event) -> None:
        seen.append(threading.current_thread() is threading.main_thread())
        seen.append(event)

    await deliver(handle)
    await deliver(handle_in_thread)
    assert seen == [EVENT, False, EVENT]


async def test_a_handler_that_fails_is_called_again_after_growing_delays() -> None:
    calls: list[Event] = []

    async def shaky(event: Event) -> None:
        calls.append(event)
        if len(calls) < 3:
            raise RuntimeError("not yet")

    outbox = await deliver(shaky)
    assert calls == [EVENT] * 3
    assert [one.retry_seconds for one in outbox.outcomes] == [2.0, 4.0, None]
    assert [(one.error or "").partition(" at ")[0] for one in outbox.outcomes] == ["RuntimeError"] * 2 + [""]


async def test_without_a_handler_the_outbox_is_not_read() -> None:
    outbox = OneEventOutbox()
    dispatcher = Dispatcher(outbox, EventHandlers(), clock=ManualClock())
    await dispatcher.start()
    dispatcher.wake()
    await asyncio.sleep(0)
    await dispatcher.aclose()
    assert outbox.takes == 0


async def test_a_delivery_whose_handler_this_process_lacks_is_left_to_others() -> None:
    outbox = OneEventOutbox()
    postponed = asyncio.Event()

    class Others(OneEventOutbox):
        async def save(
            self, outcomes: Sequence[DeliveryOutcome], *, now: datetime, lease_seconds: float
        ) -> list[DeliveryOutcome]:
            del now, lease_seconds
            self.outcomes.extend(outcomes)
            postponed.set()
            return []

    outbox = Others()
    handlers = handlers_of("kombo.event", print)  # of the same name, for another type
    async with dispatching(Dispatcher(outbox, handlers, clock=ManualClock())):
        await postponed.wait()
    [outcome] = outbox.outcomes
    assert (outcome.error, outcome.retry_seconds, outcome.is_dead) == (None, POSTPONE_SECONDS, False)


async def test_a_hanging_handler_is_cancelled_at_shutdown_and_its_event_released() -> None:
    outbox, entered = OneEventOutbox(), asyncio.Event()

    async def hang(_event: Event) -> None:
        entered.set()
        await asyncio.Event().wait()

    async with dispatching(Dispatcher(outbox, handlers_of(EVENT.type, hang), clock=ManualClock())):
        await entered.wait()
    assert not outbox.delivered.is_set()
    # The next dispatcher need not wait for the lease to expire.
    assert [delivery.event for delivery in outbox.released] == [EVENT]


async def test_leases_are_renewed_while_handlers_run() -> None:
    renewed = asyncio.Event()

    class Watched(OneEventOutbox):
        async def renew(self, deliveries: Iterable[Delivery], *, now: datetime, lease_seconds: float) -> None:
            del now
            assert lease_seconds == LEASE_SECONDS
            assert list(deliveries) == [delivery()]
            renewed.set()

    async def hang(_event: Event) -> None:
        await asyncio.Event().wait()

    handlers = handlers_of(EVENT.type, hang)
    async with dispatching(Dispatcher(Watched(), handlers, clock=ManualClock(), heartbeat_seconds=0.01)):
        await renewed.wait()


async def test_a_handler_that_succeeded_is_not_called_again_after_a_restart_because_another_hung() -> None:
    calls: list[str] = []
    stuck = asyncio.Event()

    async def steady(_event: Event) -> None:
        calls.append("steady")

    async def hang(_event: Event) -> None:
        calls.append("hang")
        await stuck.wait()

    handlers = handlers_of("kombo.event", steady, hang)
    async with store_with_events(1, handlers) as store:
        async with dispatching(Dispatcher(store.outbox, handlers, clock=time)):
            await eventually(lambda: len(calls) == 2)
        stuck.set()
        async with dispatching(Dispatcher(store.outbox, handlers, clock=time)):
            await eventually(lambda: len(calls) == 3)
    assert sorted(calls) == ["hang", "hang", "steady"]


async def test_a_hanging_handler_delays_neither_other_handlers_nor_other_events() -> None:
    seen: list[Event] = []

    async def hang(_event: Event) -> None:
        await asyncio.Event().wait()

    handlers = handlers_of("integration.connected", hang, seen.append)
    handlers.add("kombo.event", seen.append)
    async with (
        store_with_events(300, handlers) as store,
        dispatching(Dispatcher(store.outbox, handlers, clock=time)),
    ):
        await eventually(lambda: len(seen) >= 600)
    assert len({event.id for event in seen}) == 600


async def test_threads_that_hang_occupy_only_their_handlers_slots_and_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[Event] = []
    stuck = threading.Event()

    def hang(_event: Event) -> None:
        stuck.wait()

    async def note(event: Event) -> None:
        seen.append(event)

    handlers = handlers_of("integration.connected", hang, note)
    runner = HandlerRunner(deadline_seconds=0.05)
    async with store_with_events(100, handlers) as store:
        dispatcher = Dispatcher(store.outbox, handlers, clock=time, poll_seconds=0.02, runner=runner)
        async with dispatching(dispatcher):
            await eventually(lambda: len(seen) >= 100)
            await eventually(lambda: "hook.stuck" in caplog.messages)
            assert runner.abandoned(NAME) == SLOTS
            hanging = [one for one in threading.enumerate() if one.name == "kombo-embed handler"]
            assert len(hanging) == SLOTS
            assert all(thread.daemon for thread in hanging)
        stuck.set()
        for thread in hanging:
            thread.join()
    assert caplog.messages.count("hook.stuck") == 1


@pytest.mark.integration
@pytest.mark.parametrize("failing", [False, True])
async def test_a_slow_or_failing_handler_with_a_backlog_delays_no_other_handler(failing: bool) -> None:
    """500 events of a fast handler behind 2,000 of another one, of the same integrations."""
    fast: list[Event] = []
    others: list[Event] = []

    async def slow_or_failing(event: Event) -> None:
        others.append(event)
        if failing:
            raise RuntimeError
        await asyncio.Event().wait()

    handlers = EventHandlers()
    handlers.add("integration.connected", slow_or_failing, name="other")
    handlers.add("kombo.event", fast.append, name="fast")
    async with (
        store_with_events(2000, handlers, later=500) as store,
        dispatching(Dispatcher(store.outbox, handlers, clock=time)),
    ):
        await eventually(lambda: len(fast) == 500, seconds=60)
        # A slow one would have occupied all slots of the process, a failing one all attempts.
        assert len(others) <= (2000 if failing else SLOTS)


async def test_a_backlog_of_three_hundred_events_is_delivered_once_each() -> None:
    seen: list[Event] = []
    handlers = handlers_of("integration.connected", seen.append)
    async with (
        store_with_events(300, handlers) as store,
        dispatching(Dispatcher(store.outbox, handlers, clock=time)),
    ):
        await eventually(lambda: len(seen) == 300)
    assert len({event.id for event in seen}) == 300


async def test_a_delivery_that_keeps_failing_becomes_a_dead_letter_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[Event] = []

    async def broken(event: Event) -> None:
        calls.append(event)
        raise RuntimeError

    outbox = OneEventOutbox()
    async with dispatching(Dispatcher(outbox, handlers_of(EVENT.type, broken), clock=ManualClock())):
        await outbox.dead.wait()
    assert len(calls) == MAX_FAILURES
    assert [outcome.is_dead for outcome in outbox.outcomes] == [False] * (MAX_FAILURES - 1) + [True]
    waits = [one.retry_seconds for one in outbox.outcomes if one.retry_seconds is not None]
    assert waits[:3] == [2.0, 4.0, 8.0]
    assert max(waits) == 3600
    assert 8 * 3600 < sum(waits) < 10 * 3600
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage() == "hook.dead_letter"
    assert vars(record)["handler"] == NAME
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
    handlers = EventHandlers()
    handlers.add("integration.connected", steady)
    for event_type in ("integration.connected", "integration.deleted"):
        handlers.add(event_type, shaky)
    async with opened_store(clock) as store:
        dispatcher = Dispatcher(store.outbox, handlers, clock=clock)
        reader = RecordsReader(URL, environment="default", clock=clock)
        async with dispatching(dispatcher), reader.opened() as records:
            reported = ReportedIntegration("personio:x", "personio", "acme", "Acme", None)
            await store.save_completion(reported, activation_token="t", origin_id="acme")
            [integration] = await store.find_integrations("acme")
            await store.save_deleted(integration)
            while ("shaky", "integration.deleted") not in calls:
                known = await records.events(delivered=False, limit=9) or []
                deliveries = [delivery for one in known for delivery in one.deliveries]
                now = datetime.fromtimestamp(clock.time(), UTC)
                waits = [one.due_at > now for one in deliveries if one.state == "failing" and one.due_at]
                # Not while a lease is held, which would end.
                if any(waits) and "in progress" not in {one.state for one in deliveries}:
                    clock.advance(3600)
                dispatcher.wake()
                await asyncio.sleep(0.01)
            assert calls == [("steady", "integration.connected"), ("shaky", "integration.deleted")]
            broken = False
            undelivered = await records.events(delivered=False, limit=9) or []
            [dead] = [one for one in undelivered if one.given_up_at is not None]
            assert await records.replay([dead.id[:8], "nonsense"]) == ([dead.id], ["nonsense"])
            dispatcher.wake()
            await eventually(lambda: len(calls) == 3)
    assert calls[2] == ("shaky", "integration.connected")


@pytest.mark.parametrize(
    ("crashes", "pause"), [(1, 2), (2, 4), (5, 30), (20, 30), (21, 60), (22, 120), (30, 3600), (5000, 3600)]
)
async def test_an_event_whose_process_died_is_redelivered_soon_at_first_and_rarely_in_the_end(
    crashes: int, pause: float
) -> None:
    outbox = OneEventOutbox()
    outbox.waiting = delivery(attempts=crashes + 2, failures=1)

    async def work(_event: Event) -> None:
        assert len(outbox.deferred) == 1

    async with dispatching(Dispatcher(outbox, handlers_of(EVENT.type, work), clock=ManualClock())):
        await outbox.delivered.wait()
    assert outbox.deferred == [pause]


async def test_a_handler_that_raises_cancelled_error_has_failed() -> None:
    calls: list[str] = []

    async def cancelled(_event: Event) -> None:
        calls.append("cancelled")
        if len(calls) == 1:
            raise asyncio.CancelledError

    outbox = await deliver(cancelled)
    assert [outcome.error for outcome in outbox.outcomes] == ["CancelledError", None]


async def test_outcomes_during_a_database_outage_are_saved_after_it() -> None:
    calls: list[Event] = []

    class Unsteady(OneEventOutbox):
        async def save(
            self, outcomes: Sequence[DeliveryOutcome], *, now: datetime, lease_seconds: float
        ) -> list[DeliveryOutcome]:
            if len(self.deferred) < 3:
                self.deferred.append(0)
                raise StoreUnavailable("The database cannot be used.")
            return await super().save(outcomes, now=now, lease_seconds=lease_seconds)

    outbox = Unsteady()
    handlers = handlers_of(EVENT.type, calls.append)
    async with dispatching(Dispatcher(outbox, handlers, clock=ManualClock(), poll_seconds=0.01)):
        await outbox.delivered.wait()
    assert calls == [EVENT]


async def test_outcomes_whose_lane_is_being_written_to_are_saved_later() -> None:
    class Busy(OneEventOutbox):
        async def save(
            self, outcomes: Sequence[DeliveryOutcome], *, now: datetime, lease_seconds: float
        ) -> list[DeliveryOutcome]:
            if len(self.deferred) < 2:
                self.deferred.append(0)
                return list(outcomes)
            return await super().save(outcomes, now=now, lease_seconds=lease_seconds)

    outbox = Busy()
    calls: list[Event] = []
    async with dispatching(Dispatcher(outbox, handlers_of(EVENT.type, calls.append), clock=ManualClock())):
        await outbox.delivered.wait()
    assert calls == [EVENT]
    assert outbox.released == []


async def test_the_events_of_a_lane_are_delivered_in_order_under_one_lease() -> None:
    seen: list[str] = []
    handlers = handlers_of("kombo.event", lambda event: seen.append(f"{event.type} {event.data['number']}"))
    async with (
        store_with_events(1, handlers, later=50, lane="one") as store,
        dispatching(Dispatcher(store.outbox, handlers, clock=time)),
    ):
        await eventually(lambda: len(seen) == 50)
    assert seen == [f"kombo.event {number}" for number in range(50)]


@asynccontextmanager
async def opened_store(clock: Clock) -> AsyncIterator[Store]:
    store = Store(URL, environment="default", clock=clock)
    await store.open()
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def store_with_events(
    number: int,
    handlers: EventHandlers,
    *,
    first: str = "integration.connected",
    later: int | None = None,
    lane: str | None = None,
) -> AsyncIterator[Store]:
    """Open a store with events of different integrations: first of one type, then of `kombo.event`."""
    now = datetime.now(UTC)
    kinds = [(first, one) for one in range(number)]
    kinds += [("kombo.event", one) for one in range(number if later is None else later)]
    async with opened_store(time) as store:
        await store.outbox.register(handlers.types_by_name(), now=now)
        async with store._database.writing() as connection:  # noqa: SLF001 - many in one transaction
            transaction = Transaction(connection, "default", now)
            for event_type, one in kinds:
                integration_id = lane or f"personio:{event_type}:{one}"
                await write_event(
                    transaction,
                    event_type,
                    origin_id="acme",
                    integration=replace(INTEGRATION, integration_id=integration_id),
                    data={"number": one},
                )
        yield store
