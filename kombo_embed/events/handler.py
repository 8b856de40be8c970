"""Calls the host's event handlers, async or plain, and knows how long to wait before a call is repeated.

A handler that hangs or fails does not affect the others.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
import traceback
from collections import Counter
from collections.abc import Callable

from kombo_embed.deliveries import Delivery, EventHandler
from kombo_embed.event import Event
from kombo_embed.telemetry import NO_TELEMETRY, Telemetry

logger = logging.getLogger("kombo_embed.events")

ERROR_MAX_LENGTH = 255
DEADLINE_SECONDS = 60.0  # for one call; a handler that exceeds it is called again later
MAX_BACKOFF_SECONDS = 3600.0
MAX_INNOCENT_CRASHES = 20  # deaths of its process that a delivery may have been present at by chance
MAX_INNOCENT_BACKOFF_SECONDS = 30.0  # so long such a delivery waits at most

Thread = asyncio.Future[tuple[object, BaseException | None]]  # done when the thread has ended


class HandlerRunner:
    """Calls handlers, and counts the threads of plain ones that run on after their call has ended."""

    def __init__(
        self, *, deadline_seconds: float = DEADLINE_SECONDS, telemetry: Telemetry = NO_TELEMETRY
    ) -> None:
        self._deadline_seconds = deadline_seconds
        self._telemetry = telemetry
        self._abandoned: Counter[str] = Counter()

    def abandoned(self, name: str) -> int:
        """Return how many threads of this handler exceeded the deadline and still run."""
        return self._abandoned[name]

    async def deliver(self, delivery: Delivery, handler: EventHandler, *, is_last: bool) -> str | None:
        """Call the handler of a delivery and measure it; return as `call`.

        ``is_last`` is whether it is not repeated if the handler fails.
        """
        about = {"handler": delivery.handler, "event.type": delivery.event.type}
        with self._telemetry.operation("delivery", about, caused_by=delivery.trace_context) as operation:
            operation.describe({"event.id": delivery.event.id, "attempt": delivery.attempts})
            error = await self.call(delivery.handler, handler, delivery.event)
            if error is None:
                operation.count_as("delivered")
                return None
            operation.describe({"error": error})
            operation.count_as("dead_letter" if is_last else "failed", error_type=error.partition(" ")[0])
            return error

    async def call(self, name: str, handler: EventHandler, event: Event) -> str | None:
        """Call a handler; return the type and place of its error, or None if it succeeded."""
        fields = {"handler": name, "event_id": event.id, "event_type": event.type}
        try:
            async with asyncio.timeout(self._deadline_seconds):
                await self._call(name, handler, event)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            logger.warning("hook.failed", extra=fields | {"error": "CancelledError"})
            return "CancelledError"
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit() in a handler must not end the delivery, either
            described = describe_error(error, handler)
            logger.warning("hook.failed", extra=fields | {"error": described}, exc_info=True)
            return described
        return None

    async def _call(self, name: str, handler: EventHandler, event: Event) -> None:
        if inspect.iscoroutinefunction(handler):
            await handler(event)
            return
        thread = _run_in_thread(lambda: handler(event))
        try:
            result, failure = await asyncio.shield(thread)
        finally:
            if not thread.done():
                # A thread cannot be cancelled: it counts until it ends.
                self._abandoned[name] += 1
                thread.add_done_callback(lambda _: self._abandoned.subtract([name]))
        if failure is not None:
            raise failure
        if inspect.isawaitable(result):
            await result


def describe_error(error: BaseException, handler: EventHandler) -> str:
    """Return the error's type and the innermost line of the handler's package that led to it.

    Its message is left out: it may contain personal data or a secret, and the description is stored.
    """
    package = str(getattr(handler, "__module__", "")).partition(".")[0]
    # A handler that exceeds its deadline was cancelled: that error has the line.
    for one in filter(None, (error, error.__cause__, error.__context__)):
        for frame, line in reversed(list(traceback.walk_tb(one.__traceback__))):
            module = str(frame.f_globals.get("__name__", ""))
            if module.partition(".")[0] == package and module != __name__:
                where = f"{module}.{frame.f_code.co_qualname}:{line}"
                return f"{type(error).__name__} at {where}"[:ERROR_MAX_LENGTH]
    return type(error).__name__[:ERROR_MAX_LENGTH]


def _run_in_thread(function: Callable[[], object]) -> Thread:
    """Run a plain function, which may block, in a daemon thread; resolve to its result and its exception.

    Not in a pool: hanging handlers would occupy the pool's threads, and the interpreter's exit joins them.
    """
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()
    thread: Thread = loop.create_future()

    def run() -> None:
        result, failure = None, None
        try:
            result = context.run(function)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller
            failure = error
        try:
            loop.call_soon_threadsafe(thread.set_result, (result, failure))
        except RuntimeError:
            return  # the loop is closed, and with it the caller

    threading.Thread(target=run, name="kombo-embed handler", daemon=True).start()
    return thread


def backoff_seconds(failures: int) -> float:
    """Return how long to wait after so many failures."""
    return min(2.0 ** min(failures, 30), MAX_BACKOFF_SECONDS)


def crash_backoff_seconds(crashes: int) -> float:
    """Return how long to wait if the process dies again during a delivery, after so many crashes."""
    # At most one of the deliveries that a process made when it died is the cause; the others wait briefly.
    if crashes <= MAX_INNOCENT_CRASHES:
        return min(backoff_seconds(crashes), MAX_INNOCENT_BACKOFF_SECONDS)
    return min(
        MAX_INNOCENT_BACKOFF_SECONDS * backoff_seconds(crashes - MAX_INNOCENT_CRASHES), MAX_BACKOFF_SECONDS
    )
