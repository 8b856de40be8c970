"""Calls the host's event handlers, async or plain; one that hangs or fails does not affect the others."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import itertools
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from enum import Enum

from kombo_embed.integration import Event
from kombo_embed.ports import EventHandler

logger = logging.getLogger("kombo_embed.events")

DEADLINE_SECONDS = 60.0  # for one call; a handler that exceeds it is called again later
SLOW_SECONDS = 1.0  # after which a call no longer counts as about to return
MAX_SLOW_CALLS = 20  # of one handler at a time

Thread = asyncio.Future[tuple[object, BaseException | None]]  # done when the thread has ended


class HandlerResult(Enum):
    """The result of one call of a handler."""

    DONE = "done"
    FAILED = "failed"
    POSTPONED = "postponed"


class HandlerRunner:
    """Calls handlers and tracks the calls that still run."""

    def __init__(self, *, slow_seconds: float = SLOW_SECONDS) -> None:
        self._slow_seconds = slow_seconds
        self._call_ids = itertools.count()
        self._started_at: dict[str, dict[int, float]] = defaultdict(dict)
        self._logged: dict[str, str] = {}

    async def call(self, name: str, handler: EventHandler, event: Event) -> HandlerResult:
        """Call a handler; postpone the call if too many slow calls of this handler still run."""
        running = self._running_for(name, self._slow_seconds)
        if running >= MAX_SLOW_CALLS:
            is_stuck = self._running_for(name, DEADLINE_SECONDS) >= MAX_SLOW_CALLS
            self._log_once(name, "stuck" if is_stuck else "busy", running)
            return HandlerResult.FAILED if is_stuck else HandlerResult.POSTPONED
        self._logged.pop(name, None)
        fields = {"handler": name, "event_id": event.id, "event_type": event.type}
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await self._call(name, handler, event)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            logger.warning("hook.failed", extra=fields | {"error": "CancelledError"})
            return HandlerResult.FAILED
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit() in a handler must not end the delivery, either
            logger.warning("hook.failed", extra=fields | {"error": type(error).__name__}, exc_info=True)
            return HandlerResult.FAILED
        return HandlerResult.DONE

    async def _call(self, name: str, handler: EventHandler, event: Event) -> None:
        call_id, started_at = next(self._call_ids), self._started_at[name]
        started_at[call_id] = asyncio.get_running_loop().time()
        thread: Thread | None = None
        try:
            if inspect.iscoroutinefunction(handler):
                await handler(event)
                return
            thread = _run_in_thread(lambda: handler(event))
            result, failure = await asyncio.shield(thread)
            if failure is not None:
                raise failure
            if inspect.isawaitable(result):
                await result
        finally:
            if thread is None or thread.done():
                del started_at[call_id]
            else:
                # A thread cannot be cancelled: it counts until it ends.
                thread.add_done_callback(lambda _: started_at.pop(call_id))

    def _log_once(self, name: str, state: str, running: int) -> None:
        if self._logged.get(name) == state:
            return
        self._logged[name] = state
        fields = {"handler": name, "running_calls": running}
        if state == "stuck":
            logger.warning("hook.stuck", extra=fields)
        else:
            logger.warning("hook.busy", extra=fields)

    def _running_for(self, name: str, seconds: float) -> int:
        """Return how many calls of a handler have run for at least this long."""
        now = asyncio.get_running_loop().time()
        return sum(now - started >= seconds for started in self._started_at[name].values())


def name_handlers(handlers: Sequence[EventHandler]) -> dict[str, EventHandler]:
    """Return each handler under a unique name that is stable over restarts: module and qualified name."""
    names: dict[str, EventHandler] = {}
    for handler in handlers:
        module = getattr(handler, "__module__", "")
        name = f"{module}.{getattr(handler, '__qualname__', type(handler).__qualname__)}"
        same = sum(known.partition("#")[0] == name for known in names)
        names[f"{name}#{same + 1}" if same else name] = handler
    return names


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
