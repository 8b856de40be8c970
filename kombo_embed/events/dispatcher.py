"""Delivers events from the outbox to the host's handlers: at least once each, in order per integration.

A handler that hangs or fails delays only the later events of the same integration.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from kombo_embed.errors import StoreUnavailable
from kombo_embed.events.handler import SLOW_SECONDS, HandlerResult, HandlerRunner, name_handlers
from kombo_embed.ports import Clock, Delivery, DeliveryOutcome, EventHandler, Outbox

logger = logging.getLogger("kombo_embed.events")

CONCURRENCY = 20  # deliveries at a time in this process, slow ones not counted
LEASE_SECONDS = 10.0  # after which the events of a process that died are delivered by another
HEARTBEAT_SECONDS = 3.0  # between renewals of the leases
POLL_SECONDS = 2.0  # between looks without a wake-up: other processes write events, too
MAX_BACKOFF_SECONDS = 3600.0
MAX_INNOCENT_CRASHES = 20  # deaths of its process that an event may have been present at by chance
MAX_INNOCENT_BACKOFF_SECONDS = 30.0  # so long such an event waits at most
POSTPONE_SECONDS = 5.0  # until a busy handler is called again
MAX_FAILURES = 20  # about nine hours of attempts; then the event is a dead letter
CLOSE_SECONDS = 5.0  # to save what has finished


class Dispatcher:
    """Delivers events until `aclose`. Handlers may be added while it runs."""

    def __init__(
        self,
        outbox: Outbox,
        handlers: Mapping[str, Sequence[EventHandler]],
        *,
        clock: Clock,
        poll_seconds: float = POLL_SECONDS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._outbox = outbox
        self._handlers = handlers
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._runner = HandlerRunner()
        self._woken = asyncio.Event()
        self._finished = asyncio.Event()
        self._leased: dict[int, Delivery] = {}  # until their outcome is on disk
        self._quick: set[int] = set()  # those that count against CONCURRENCY
        self._outcomes: list[DeliveryOutcome] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start to deliver."""
        loop = asyncio.get_running_loop()
        for run in (self._take_forever, self._save_forever, self._renew_forever):
            self._loops.append(loop.create_task(run(), name="kombo-embed dispatcher"))

    def wake(self) -> None:
        """Look into the outbox now, because an event may have been committed."""
        self._woken.set()

    async def aclose(self) -> None:
        """Stop. Unfinished events are delivered again later, by any process."""
        tasks = [*self._tasks, *self._loops]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._release()
        except (TimeoutError, StoreUnavailable):
            return  # the leases expire

    async def _take_forever(self) -> None:
        while True:
            self._woken.clear()
            if not await self._take():
                await self._wait()

    async def _take(self) -> bool:
        types = [event_type for event_type, handlers in self._handlers.items() if handlers]
        limit = CONCURRENCY - len(self._quick)
        if not types or limit <= 0:
            return False
        try:
            taken = await self._outbox.take(types, limit=limit, now=self._now(), lease_seconds=LEASE_SECONDS)
        except StoreUnavailable:
            return False  # the store has logged it
        except Exception:
            # This loop is the only one that delivers, so it goes on whatever the cause.
            logger.exception("dispatcher.take_failed")
            return False
        for delivery in taken:
            self._begin(delivery)
        return bool(taken)

    def _begin(self, delivery: Delivery) -> None:
        loop = asyncio.get_running_loop()
        self._leased[delivery.row_id] = delivery
        self._quick.add(delivery.row_id)
        loop.call_later(SLOW_SECONDS, self._make_room, delivery.row_id)
        task = loop.create_task(self._deliver(delivery), name="kombo-embed delivery")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _make_room(self, row_id: int) -> None:
        if row_id in self._quick:
            self._quick.discard(row_id)
            self._woken.set()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._poll_seconds):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _deliver(self, delivery: Delivery) -> None:
        crashes = delivery.attempts - delivery.failures - 1
        if crashes > 0:
            await self._defer(delivery, crashes)
        handlers = name_handlers(self._handlers.get(delivery.event.type, ()))
        done = set(delivery.done_handlers)
        left = [name for name in handlers if name not in done]
        results = await asyncio.gather(*(self._call(name, handlers[name], delivery, done) for name in left))
        self._outcomes.append(self._outcome(delivery, done, results))
        self._finished.set()

    async def _call(
        self, name: str, handler: EventHandler, delivery: Delivery, done: set[str]
    ) -> HandlerResult:
        """Call one handler; the next heartbeat saves its success, however long other handlers take."""
        result = await self._runner.call(name, handler, delivery.event)
        if result is HandlerResult.DONE:
            done.add(name)
            self._leased[delivery.row_id] = replace(delivery, done_handlers=tuple(sorted(done)))
        return result

    async def _defer(self, delivery: Delivery, crashes: int) -> None:
        """Set a redelivery time before the call: this event may be what killed the earlier processes."""
        due_at = self._now() + timedelta(seconds=_crash_backoff_seconds(crashes))
        try:
            await self._outbox.defer(delivery, due_at=due_at)
        except StoreUnavailable:
            return  # the store has logged it

    def _outcome(
        self, delivery: Delivery, done: set[str], results: Sequence[HandlerResult]
    ) -> DeliveryOutcome:
        names = tuple(sorted(done))
        if HandlerResult.FAILED in results:
            failures = delivery.failures + 1
            due_at = self._now() + timedelta(seconds=_backoff_seconds(failures))
            return DeliveryOutcome(delivery, names, due_at, failed=True, dead=failures >= MAX_FAILURES)
        if HandlerResult.POSTPONED in results:
            return DeliveryOutcome(delivery, names, self._now() + timedelta(seconds=POSTPONE_SECONDS))
        return DeliveryOutcome(delivery, names)

    async def _save_forever(self) -> None:
        """Save outcomes; those that arrive during a transaction go into the next one."""
        while True:
            await self._finished.wait()
            self._finished.clear()
            if not await self._save():
                await asyncio.sleep(self._poll_seconds)
                self._finished.set()

    async def _save(self) -> bool:
        outcomes, self._outcomes = self._outcomes, []
        try:
            await self._outbox.save(outcomes, now=self._now())
        except StoreUnavailable:
            self._outcomes = [*outcomes, *self._outcomes]
            return False  # the store has logged it
        except Exception:
            # As in _take. The leases expire, and the events are delivered again.
            logger.exception("dispatcher.save_failed", extra={"count": len(outcomes)})
        for outcome in outcomes:
            _log_dead_letter(outcome)
            self._leased.pop(outcome.delivery.row_id, None)
            self._quick.discard(outcome.delivery.row_id)
        self._woken.set()  # the next events of these integrations may be ready now
        return True

    async def _renew_forever(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            if not self._leased:
                continue
            try:
                leased = list(self._leased.values())
                await self._outbox.renew(leased, now=self._now(), lease_seconds=LEASE_SECONDS)
            except StoreUnavailable:
                continue  # the store has logged it
            except Exception:
                logger.exception("dispatcher.renew_failed")

    async def _release(self) -> None:
        if self._outcomes:
            await self._save()
        if self._leased:
            await self._outbox.release(list(self._leased.values()))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.time(), UTC)


def _backoff_seconds(failures: int) -> float:
    return min(2.0 ** min(failures, 30), MAX_BACKOFF_SECONDS)


def _crash_backoff_seconds(crashes: int) -> float:
    # At most one of the events that a process held when it died is the cause; the others must not wait long.
    if crashes <= MAX_INNOCENT_CRASHES:
        return min(_backoff_seconds(crashes), MAX_INNOCENT_BACKOFF_SECONDS)
    return min(
        MAX_INNOCENT_BACKOFF_SECONDS * _backoff_seconds(crashes - MAX_INNOCENT_CRASHES), MAX_BACKOFF_SECONDS
    )


def _log_dead_letter(outcome: DeliveryOutcome) -> None:
    if not outcome.dead:
        return
    event = outcome.delivery.event
    logger.error(
        "hook.dead_letter",
        extra={
            "event_id": event.id,
            "event_type": event.type,
            "failures": outcome.delivery.failures + 1,
            "remedy": f"fix the handler, then run: kombo-embed events replay {event.id}",
        },
    )
