from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime

from kombo_embed import Event
from kombo_embed.hooks import HookRunner
from kombo_embed.models import Delivery, Outcome
from tests.support import ManualClock

EVENT = Event("e1", "integration.connected", datetime(2026, 1, 1, tzinfo=UTC), "acme", None)


class OneEventOutbox:
    """Gives one event out, again after each failure."""

    def __init__(self) -> None:
        self.waiting: Delivery | None = Delivery(1, EVENT, 1, ())
        self.delivered = asyncio.Event()
        self.given_up = asyncio.Event()
        self.outcomes: list[Outcome] = []
        self.deferred: list[tuple[Delivery, datetime]] = []
        self.released: list[Delivery] = []
        self.looks = 0

    async def take(
        self, types: Sequence[str], *, limit: int, now: datetime, lease_seconds: float
    ) -> list[Delivery]:
        del limit, now, lease_seconds
        self.looks += 1
        if self.waiting is None or EVENT.type not in types:
            return []
        taken, self.waiting = self.waiting, None
        return [taken]

    async def renew(self, deliveries: Sequence[Delivery], *, until: datetime) -> None:
        """A lease that never ends needs none."""

    async def save(self, outcomes: Sequence[Outcome], *, now: datetime) -> None:
        del now
        for outcome in outcomes:
            self.outcomes.append(outcome)
            if outcome.due_at is None:
                self.delivered.set()
            elif not outcome.given_up:
                taken = outcome.delivery
                failures = taken.failures + outcome.failed
                self.waiting = Delivery(1, EVENT, failures + 1, outcome.done_handlers, failures)
            else:
                self.given_up.set()

    async def defer(self, delivery: Delivery, *, due_at: datetime) -> None:
        self.deferred.append((delivery, due_at))

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        self.released.extend(deliveries)


async def deliver(*handlers: object) -> OneEventOutbox:
    outbox = OneEventOutbox()
    runner = HookRunner(outbox, {EVENT.type: list(handlers)}, clock=ManualClock())  # type: ignore[arg-type]
    runner.start()
    async with asyncio.timeout(5):
        await outbox.delivered.wait()
    await runner.aclose()
    return outbox


async def test_async_and_plain_handlers_are_called_and_plain_ones_do_not_block_the_loop() -> None:
    heard: list[object] = []

    async def hear(event: Event) -> None:
        heard.append(event)

    def hear_in_a_thread(event: Event) -> None:
        heard.append(threading.current_thread() is threading.main_thread())
        heard.append(event)

    await deliver(hear, hear_in_a_thread)
    assert heard == [EVENT, False, EVENT]


async def test_what_one_handler_has_done_is_not_done_again_because_another_failed() -> None:
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


async def test_without_a_handler_the_outbox_is_left_alone() -> None:
    outbox = OneEventOutbox()
    runner = HookRunner(outbox, {EVENT.type: []}, clock=ManualClock())
    runner.start()
    runner.wake()
    await asyncio.sleep(0)
    await runner.aclose()
    assert outbox.looks == 0


async def test_a_handler_that_hangs_ends_with_the_app() -> None:
    outbox, entered = OneEventOutbox(), asyncio.Event()

    async def hang(_event: Event) -> None:
        entered.set()
        await asyncio.Event().wait()

    runner = HookRunner(outbox, {EVENT.type: [hang]}, clock=ManualClock())
    runner.start()
    async with asyncio.timeout(5):
        await entered.wait()
        await runner.aclose()
    assert not outbox.delivered.is_set()
    # Whoever looks next need not wait for the lease's end.
    assert [delivery.event for delivery in outbox.released] == [EVENT]
