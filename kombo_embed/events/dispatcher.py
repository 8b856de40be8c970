"""Delivers the host's events, fed from the outbox: at least once to each handler, in order per integration.

A handler that hangs or fails holds up nobody but the later events of its own integration.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from kombo_embed.errors import StoreUnavailable
from kombo_embed.events.handler import SLOW, Call, HandlerRunner, named
from kombo_embed.ports import Clock, Delivery, DeliveryOutcome, EventHandler, Outbox

logger = logging.getLogger("kombo_embed.events.dispatcher")

CONCURRENCY = 20  # events at a time in this process, beside those that take long
LEASE = 10.0  # seconds after which an event of a process that died is free again
HEARTBEAT = 3.0  # seconds between renewals of the leases
POLL = 2.0  # seconds between looks when nothing woke us: other processes write events too
BACKOFF_MAX = 3600.0  # seconds
CRASHES_MAX = 20  # deaths of its process that an event may have stood beside by chance
BYSTANDERS_MAX = 30.0  # seconds that such an event waits at most
POSTPONED = 5.0  # seconds until a handler that is busy is called for this event
FAILURES_MAX = 20  # about nine hours of trying; then somebody has to look
CLOSING = 5.0  # seconds to note what was finished


class Dispatcher:
    """Delivers events until `aclose`.

    Args:
        outbox: Where events wait.
        handlers: By event type; may grow while running.
        clock: Where time comes from.
    """

    def __init__(
        self, outbox: Outbox, handlers: Mapping[str, Sequence[EventHandler]], *, clock: Clock
    ) -> None:
        self._outbox = outbox
        self._handlers = handlers
        self._clock = clock
        self._calls = HandlerRunner()
        self._woken = asyncio.Event()
        self._finished = asyncio.Event()
        self._held: dict[int, Delivery] = {}  # leased by us, until what became of them is on disk
        self._quick: set[int] = set()
        self._outcomes: list[DeliveryOutcome] = []
        self._deliveries: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to deliver."""
        loop = asyncio.get_running_loop()
        for run in (self._run, self._save_finished, self._keep_leased):
            self._loops.append(loop.create_task(run(), name="kombo-embed hooks"))

    def wake(self) -> None:
        """Look into the outbox now: something was committed."""
        self._woken.set()

    async def aclose(self) -> None:
        """Stop. What was not finished is delivered again, by whoever looks next."""
        tasks = [*self._deliveries, *self._loops]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(CLOSING):
                await self._give_back()
        except (TimeoutError, StoreUnavailable):
            return  # the leases end by themselves

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            if not await self._take():
                await self._wait()

    async def _take(self) -> bool:
        types = [type_ for type_, handlers in self._handlers.items() if handlers]
        free = CONCURRENCY - len(self._quick)
        if not types or free <= 0:
            return False
        try:
            taken = await self._outbox.take(types, limit=free, now=self._now(), lease_seconds=LEASE)
        except StoreUnavailable:
            return False  # said in the log by the store already
        except Exception:
            # This loop is all that delivers: whatever it was, it looks again later.
            logger.exception("hooks.failed: the outbox could not be read")
            return False
        for delivery in taken:
            self._begin(delivery)
        return bool(taken)

    def _begin(self, delivery: Delivery) -> None:
        loop = asyncio.get_running_loop()
        self._held[delivery.row_id] = delivery
        self._quick.add(delivery.row_id)
        loop.call_later(SLOW, self._make_room, delivery.row_id)
        task = loop.create_task(self._deliver(delivery), name="kombo-embed hook")
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)

    def _make_room(self, row_id: int) -> None:
        if row_id in self._quick:
            self._quick.discard(row_id)
            self._woken.set()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(POLL):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _deliver(self, delivery: Delivery) -> None:
        crashes = delivery.attempts - delivery.failures - 1
        if crashes > 0:
            await self._expect_the_worst(delivery, crashes)
        handlers = named(self._handlers.get(delivery.event.type, ()))
        done = set(delivery.done_handlers)
        left = [name for name in handlers if name not in done]
        calls = await asyncio.gather(*(self._call(name, handlers[name], delivery, done) for name in left))
        self._outcomes.append(self._outcome(delivery, done, calls))
        self._finished.set()

    async def _call(self, name: str, handler: EventHandler, delivery: Delivery, done: set[str]) -> Call:
        """Call one handler; that it is done is noted with the next heartbeat, however long others take."""
        call = await self._calls.call(name, handler, delivery.event)
        if call is Call.DONE:
            done.add(name)
            self._held[delivery.row_id] = replace(delivery, done_handlers=tuple(sorted(done)))
        return call

    async def _expect_the_worst(self, delivery: Delivery, crashes: int) -> None:
        """Whoever had it died: perhaps of it. Should we, too, it is tried less and less often."""
        due_at = self._now() + timedelta(seconds=_backoff_after_crashes(crashes))
        try:
            await self._outbox.defer(delivery, due_at=due_at)
        except StoreUnavailable:
            return  # said in the log by the store already

    def _outcome(self, delivery: Delivery, done: set[str], calls: Sequence[Call]) -> DeliveryOutcome:
        names = tuple(sorted(done))
        if Call.FAILED in calls:
            failures = delivery.failures + 1
            due_at = self._now() + timedelta(seconds=_backoff(failures))
            return DeliveryOutcome(delivery, names, due_at, failed=True, dead=failures >= FAILURES_MAX)
        if Call.POSTPONED in calls:
            return DeliveryOutcome(delivery, names, self._now() + timedelta(seconds=POSTPONED))
        return DeliveryOutcome(delivery, names)

    async def _save_finished(self) -> None:
        """Note what became of events; what ends while that is written goes into the next transaction."""
        while True:
            await self._finished.wait()
            self._finished.clear()
            if not await self._save():
                await asyncio.sleep(POLL)
                self._finished.set()

    async def _save(self) -> bool:
        outcomes, self._outcomes = self._outcomes, []
        try:
            await self._outbox.save(outcomes, now=self._now())
        except StoreUnavailable:
            self._outcomes = [*outcomes, *self._outcomes]
            return False  # said in the log by the store already
        except Exception:
            # As in _take. The leases end by themselves, and the events are delivered again.
            logger.exception("hooks.failed: what became of %s events could not be noted", len(outcomes))
        for outcome in outcomes:
            _tell_given_up(outcome)
            self._held.pop(outcome.delivery.row_id, None)
            self._quick.discard(outcome.delivery.row_id)
        self._woken.set()  # the integrations' next events may go now
        return True

    async def _keep_leased(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            if not self._held:
                continue
            try:
                held = list(self._held.values())
                await self._outbox.renew(held, now=self._now(), lease_seconds=LEASE)
            except StoreUnavailable:
                continue  # said in the log by the store already
            except Exception:
                logger.exception("hooks.failed: leases could not be renewed")

    async def _give_back(self) -> None:
        if self._outcomes:
            await self._save()
        if self._held:
            await self._outbox.release(list(self._held.values()))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.time(), UTC)


def _backoff(failures: int) -> float:
    return min(2.0 ** min(failures, 30), BACKOFF_MAX)


def _backoff_after_crashes(crashes: int) -> float:
    # Of all that a process had when it died, one event at most is the cause: the others must not wait long.
    if crashes <= CRASHES_MAX:
        return min(_backoff(crashes), BYSTANDERS_MAX)
    return min(BYSTANDERS_MAX * _backoff(crashes - CRASHES_MAX), BACKOFF_MAX)


def _tell_given_up(outcome: DeliveryOutcome) -> None:
    if outcome.dead:
        event = outcome.delivery.event
        logger.error(
            "hook.given_up: %s, %s, failed %s times; mend its handler, then: kombo-embed events replay %s",
            event.id,
            event.type,
            outcome.delivery.failures + 1,
            event.id,
        )
