"""Makes the deliveries of the outbox to the host's handlers: at least once each, in order per integration.

A handler that is slow, hangs or fails delays only its own deliveries: each has slots of its own.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from kombo_embed.deliveries import Delivery, DeliveryOutcome, EventHandlers, Outbox
from kombo_embed.errors import StoreUnavailable
from kombo_embed.events.handler import HandlerRunner, backoff_seconds, crash_backoff_seconds
from kombo_embed.events.upkeep import Upkeep
from kombo_embed.ports import Clock, utc_now
from kombo_embed.telemetry import NO_TELEMETRY, Telemetry

logger = logging.getLogger("kombo_embed.events")

SLOTS = 20  # lanes of one handler at a time in this process
LEASE_SECONDS = 10.0  # after which the deliveries of a process that died are made by another
HEARTBEAT_SECONDS = 3.0  # between renewals of the leases
POLL_SECONDS = 4.0  # between looks without a wake-up: other processes write events, too
SAVE_AGAIN_SECONDS = 0.1  # until outcomes are saved whose lane was being written to
POSTPONE_SECONDS = 5.0  # until another process may make a delivery whose handler this one does not have
MAX_FAILURES = 20  # about nine hours of attempts; then the delivery is a dead letter
CLOSE_SECONDS = 5.0  # to save what has finished


class Dispatcher:
    """Makes deliveries until `aclose`. Handlers may be added while it runs."""

    def __init__(
        self,
        outbox: Outbox,
        handlers: EventHandlers,
        *,
        clock: Clock,
        poll_seconds: float = POLL_SECONDS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        runner: HandlerRunner | None = None,
        telemetry: Telemetry = NO_TELEMETRY,
    ) -> None:
        self._outbox = outbox
        self._handlers = handlers
        self._clock = clock
        self._poll_seconds, self._heartbeat_seconds = poll_seconds, heartbeat_seconds
        self._runner = runner or HandlerRunner(telemetry=telemetry)
        self._upkeep = Upkeep(outbox, handlers, clock=clock, wake=self.wake)
        self._retry_at = math.inf  # monotonic: when the first delivery that failed here is due again
        self._woken, self._finished = asyncio.Event(), asyncio.Event()
        self._leased: dict[int, Delivery] = {}  # until their outcome is on disk
        self._occupied: Counter[str] = Counter()  # slots by handler, until the lane's last outcome is on disk
        self._stuck: set[str] = set()  # handlers that were logged as stuck
        self._outcomes: list[DeliveryOutcome] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Register the handlers and start to deliver."""
        with suppress(StoreUnavailable):  # the store has logged it; the first look registers them
            await self._upkeep.register()
        loop = asyncio.get_running_loop()
        for run in (self._take_forever, self._save_forever, self._renew_forever, self._upkeep.run_forever):
            self._loops.append(loop.create_task(run(), name="kombo-embed dispatcher"))

    def wake(self) -> None:
        """Look into the outbox now, because an event may have been committed."""
        self._woken.set()

    async def aclose(self) -> None:
        """Stop. Unfinished deliveries are made again later, by any process."""
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
            if self._clock.monotonic() >= self._retry_at:
                self._retry_at = math.inf
            if not await self._take():
                await self._wait()

    async def _take(self) -> bool:
        try:
            await self._upkeep.register()
            slots = {name: free for name in self._handlers.types_by_name() if (free := self._free(name)) > 0}
            if not slots:
                return False
            taken = await self._outbox.take(slots, now=self._now(), lease_seconds=LEASE_SECONDS)
        except StoreUnavailable:
            return False  # the store has logged it
        except Exception:
            # This loop is the only one that delivers, so it goes on whatever the cause.
            logger.exception("dispatcher.take_failed")
            return False
        for lane in taken:
            self._begin(lane)
        return bool(taken)

    def _free(self, name: str) -> int:
        """Return how many more lanes of a handler this process may deliver; log once if none ever ends."""
        running = self._runner.abandoned(name)
        if running < SLOTS:
            self._stuck.discard(name)
        elif name not in self._stuck:
            self._stuck.add(name)
            logger.warning("hook.stuck", extra={"handler": name, "running_calls": running})
        return SLOTS - self._occupied[name] - running

    def _begin(self, lane: Sequence[Delivery]) -> None:
        self._leased[lane[0].row_id] = lane[0]
        self._occupied[lane[0].handler] += 1
        task = asyncio.get_running_loop().create_task(self._deliver(lane), name="kombo-embed delivery")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(min(self._poll_seconds, self._retry_at - self._clock.monotonic())):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _deliver(self, lane: Sequence[Delivery]) -> None:
        """Make the deliveries of a lane, one after another, until one fails."""
        for delivery, successor in zip(lane, [*lane[1:], None], strict=True):
            outcome = await self._call(delivery, successor)
            if outcome.successor:
                self._leased[outcome.successor.row_id] = outcome.successor
            self._outcomes.append(outcome)
            self._finished.set()
            if outcome.successor is None:
                return

    async def _call(self, delivery: Delivery, successor: Delivery | None) -> DeliveryOutcome:
        crashes = delivery.attempts - delivery.failures - 1
        if crashes > 0:
            await self._defer(delivery, crashes)
        handler = self._handlers.find(delivery.handler, delivery.event.type)
        if handler is None:
            return DeliveryOutcome(delivery, retry_seconds=POSTPONE_SECONDS)
        failures = delivery.failures + 1
        is_last = failures >= MAX_FAILURES
        error = await self._runner.deliver(delivery, handler, is_last=is_last)
        if error is None:
            return DeliveryOutcome(delivery, successor=successor)
        return DeliveryOutcome(delivery, error, None if is_last else backoff_seconds(failures))

    async def _defer(self, delivery: Delivery, crashes: int) -> None:
        """Set a redelivery time before the call: this event may be what killed the earlier processes."""
        try:
            await self._outbox.defer(delivery, now=self._now(), seconds=crash_backoff_seconds(crashes))
        except StoreUnavailable:
            return  # the store has logged it

    async def _save_forever(self) -> None:
        """Save outcomes; those that arrive during a transaction go into the next one."""
        while True:
            await self._finished.wait()
            self._finished.clear()
            if not await self._save():
                await asyncio.sleep(self._poll_seconds)
                self._finished.set()
            elif self._outcomes and not self._finished.is_set():
                await asyncio.sleep(SAVE_AGAIN_SECONDS)
                self._finished.set()

    async def _save(self) -> bool:
        outcomes, self._outcomes = self._outcomes, []
        unsaved: list[DeliveryOutcome] = []
        try:
            unsaved = await self._outbox.save(outcomes, now=self._now(), lease_seconds=LEASE_SECONDS)
        except StoreUnavailable:
            self._outcomes = [*outcomes, *self._outcomes]
            return False  # the store has logged it
        except Exception:
            # As in _take. The leases expire, and the deliveries are made again.
            logger.exception("dispatcher.save_failed", extra={"count": len(outcomes)})
        self._outcomes = [*unsaved, *self._outcomes]
        kept = {one.delivery.row_id for one in unsaved}
        for outcome in outcomes:
            if outcome.delivery.row_id not in kept:
                self._forget(outcome)
        self._woken.set()  # slots are free, and the next deliveries of these lanes may be due now
        return True

    def _forget(self, outcome: DeliveryOutcome) -> None:
        _log_dead_letter(outcome)
        self._leased.pop(outcome.delivery.row_id, None)
        if outcome.successor is None:
            self._occupied[outcome.delivery.handler] -= 1
        if outcome.retry_seconds is not None:
            self._retry_at = min(self._retry_at, self._clock.monotonic() + outcome.retry_seconds)

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
            await self._outbox.release(list(self._leased.values()), now=self._now())

    def _now(self) -> datetime:
        return utc_now(self._clock)


def _log_dead_letter(outcome: DeliveryOutcome) -> None:
    if not outcome.is_dead:
        return
    event = outcome.delivery.event
    logger.error(
        "hook.dead_letter",
        extra={
            "handler": outcome.delivery.handler,
            "event_id": event.id,
            "event_type": event.type,
            "failures": outcome.delivery.failures + 1,
            "remedy": f"fix the handler, then run: kombo-embed events replay {event.id}",
        },
    )
