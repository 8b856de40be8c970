"""Runs the host's event handlers, fed from the outbox: at least once each, in order per integration.

A handler that hangs or fails holds up nobody but the later events of its own integration.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from kombo_embed.errors import StoreUnavailable
from kombo_embed.models import Delivery, Event
from kombo_embed.ports import Clock, EventHandler, Outbox

logger = logging.getLogger("kombo_embed.hooks")

CONCURRENCY = 20  # events under way at a time in this process
LEASE = 10.0  # seconds after which an event of a process that died is free again
HEARTBEAT = 3.0  # seconds between renewals of a lease
POLL = 2.0  # seconds between looks when nothing woke us: other processes write events too
BACKOFF_MAX = 300.0  # seconds
HANDLER_DEADLINE = 60.0  # seconds for one call of a handler; one that hangs is called again later


class HookRunner:
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
        self._woken = asyncio.Event()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="kombo-embed-hook")

    def start(self) -> None:
        """Begin to deliver."""
        self._loop = asyncio.get_running_loop().create_task(self._run(), name="kombo-embed hooks")

    def wake(self) -> None:
        """Look into the outbox now: something was committed."""
        self._woken.set()

    async def aclose(self) -> None:
        """Stop. What was not finished is delivered again, by whoever looks next."""
        tasks = [*self._deliveries, *([self._loop] if self._loop else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            if not await self._take():
                await self._wait()

    async def _take(self) -> bool:
        types = [type_ for type_, handlers in self._handlers.items() if handlers]
        free = CONCURRENCY - len(self._deliveries)
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
            task = asyncio.get_running_loop().create_task(self._deliver(delivery), name="kombo-embed hook")
            self._deliveries.add(task)
            task.add_done_callback(self._delivered)
        return bool(taken)

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._deliveries.discard(task)
        self._woken.set()  # the integration's next event may go now

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(POLL):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _deliver(self, delivery: Delivery) -> None:
        heartbeat = asyncio.get_running_loop().create_task(self._keep_leased(delivery))
        done = set(delivery.done_handlers)
        handlers = _named(self._handlers.get(delivery.event.type, ()))
        try:
            for name, handler in handlers.items():
                if name not in done and await self._handle(name, handler, delivery.event):
                    done.add(name)
        finally:
            heartbeat.cancel()
            await asyncio.gather(heartbeat, return_exceptions=True)
        try:
            if done >= handlers.keys():
                await self._outbox.save_delivered(delivery, now=self._now())
            else:
                due_at = self._now() + timedelta(seconds=min(2.0**delivery.attempts, BACKOFF_MAX))
                await self._outbox.save_failed(delivery, done_handlers=sorted(done), due_at=due_at)
        except StoreUnavailable:
            return  # the lease ends by itself and the event is delivered again

    async def _handle(self, name: str, handler: EventHandler, event: Event) -> bool:
        try:
            async with asyncio.timeout(HANDLER_DEADLINE):
                await self._call(handler, event)
        except Exception:
            logger.warning("hook.failed: %s for %s", name, event.type, exc_info=True)
            return False
        return True

    async def _call(self, handler: EventHandler, event: Event) -> None:
        if inspect.iscoroutinefunction(handler):
            await handler(event)
            return
        # A plain function may block, so it gets a thread, and not one that the app needs for other things.
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        result = await loop.run_in_executor(self._threads, lambda: context.run(handler, event))
        if inspect.isawaitable(result):
            await result

    async def _keep_leased(self, delivery: Delivery) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            try:
                await self._outbox.renew(delivery, until=self._now() + timedelta(seconds=LEASE))
            except StoreUnavailable:
                continue

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.time(), UTC)


def _named(handlers: Sequence[EventHandler]) -> dict[str, EventHandler]:
    """Each handler by a name that is its own and that stays so over restarts."""
    named: dict[str, EventHandler] = {}
    for handler in handlers:
        module = getattr(handler, "__module__", "")
        name = f"{module}.{getattr(handler, '__qualname__', type(handler).__qualname__)}"
        alike = sum(known.partition("#")[0] == name for known in named)
        named[f"{name}#{alike + 1}" if alike else name] = handler
    return named
