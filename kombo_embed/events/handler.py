"""Calls the host's event handlers, async or plain, so that one that hangs or fails hurts nobody else."""

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

logger = logging.getLogger("kombo_embed.events.dispatcher")

DEADLINE = 60.0  # seconds for one call of a handler; one that hangs is called again later
SLOW = 1.0  # seconds after which a call no longer counts as one that is about to end
SLOW_CALLS = 20  # of one handler at a time

Thread = asyncio.Future[tuple[object, BaseException | None]]  # is done when the thread has ended


class Call(Enum):
    """What became of the call of a handler."""

    DONE = "done"
    FAILED = "failed"
    POSTPONED = "postponed"


class HandlerRunner:
    """Calls handlers, and remembers which of them are still at it."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._under_way: dict[str, dict[int, float]] = defaultdict(dict)
        self._told: dict[str, str] = {}

    async def call(self, name: str, handler: EventHandler, event: Event) -> Call:
        """Call a handler; one that is still busy with many events is left alone for now."""
        held = self._held(name, SLOW)
        if held >= SLOW_CALLS:
            stuck = self._held(name, DEADLINE) >= SLOW_CALLS
            self._tell_once(name, "stuck" if stuck else "busy", held)
            return Call.FAILED if stuck else Call.POSTPONED
        self._told.pop(name, None)
        try:
            async with asyncio.timeout(DEADLINE):
                await self._call(name, handler, event)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            logger.warning("hook.failed: %s for %s was cancelled from within", name, event.type)
            return Call.FAILED
        except Exception:
            logger.warning("hook.failed: %s for %s", name, event.type, exc_info=True)
            return Call.FAILED
        return Call.DONE

    async def _call(self, name: str, handler: EventHandler, event: Event) -> None:
        number, under_way = next(self._numbers), self._under_way[name]
        under_way[number] = asyncio.get_running_loop().time()
        thread: Thread | None = None
        try:
            if inspect.iscoroutinefunction(handler):
                await handler(event)
                return
            thread = _in_thread(lambda: handler(event))
            result, failure = await asyncio.shield(thread)
            if failure is not None:
                raise failure
            if inspect.isawaitable(result):
                await result
        finally:
            if thread is None or thread.done():
                del under_way[number]
            else:
                # A thread cannot be cancelled: it counts until it really ends.
                thread.add_done_callback(lambda _: under_way.pop(number))

    def _tell_once(self, name: str, state: str, calls: int) -> None:
        if self._told.get(name) != state:
            self._told[name] = state
            logger.warning("hook.%s: %s has %s calls under way; other events wait for it", state, name, calls)

    def _held(self, name: str, seconds: float) -> int:
        """How many calls of a handler take this long already."""
        now = asyncio.get_running_loop().time()
        return sum(now - since >= seconds for since in self._under_way[name].values())


def named(handlers: Sequence[EventHandler]) -> dict[str, EventHandler]:
    """Each handler by a name that is its own and that stays so over restarts."""
    names: dict[str, EventHandler] = {}
    for handler in handlers:
        module = getattr(handler, "__module__", "")
        name = f"{module}.{getattr(handler, '__qualname__', type(handler).__qualname__)}"
        alike = sum(known.partition("#")[0] == name for known in names)
        names[f"{name}#{alike + 1}" if alike else name] = handler
    return names


def _in_thread(function: Callable[[], object]) -> Thread:
    """Run a plain function, which may block, in a thread of its own; what it returned, and what it raised.

    Not in a pool: those that hang would hold its threads, and the end of the program would wait for them.
    """
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()
    thread: Thread = loop.create_future()

    def run() -> None:
        result, failure = None, None
        try:
            result = context.run(function)
        except BaseException as error:  # noqa: BLE001 - passed on to whoever waits
            failure = error
        try:
            loop.call_soon_threadsafe(thread.set_result, (result, failure))
        except RuntimeError:
            return  # the loop is closed: nobody waits

    threading.Thread(target=run, name="kombo-embed hook", daemon=True).start()
    return thread
