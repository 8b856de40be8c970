"""An event loop on virtual time, with processes that can die at any await.

Time stands still while anything can run; then it jumps to the next timer. There are no threads: what an
executor is given runs in the loop, after a short while. So a run depends on its seed alone.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import random
import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

STARTED_AT = 1000.0  # of the loop's clock
EPOCH = 1_790_000_000.0  # of wall clocks
JOB_SECONDS = 0.004  # that a job of an executor takes at most

process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


@dataclass(eq=False, slots=True)
class Process:
    """What dies together. It dies before its ``dies_after``-th step from now, or never."""

    name: str
    is_dead: bool = False
    dies_after: int | None = None
    on_death: list[Callable[[], None]] = field(default_factory=list)
    left: list[Callable[[], object]] = field(default_factory=list)  # steps that were due when it was dead

    def step(self) -> bool:
        """Return whether it is alive for one more step."""
        if self.dies_after is not None and not self.is_dead:
            self.dies_after -= 1
            if self.dies_after < 0:
                self.die()
        return not self.is_dead

    def die(self) -> None:
        """Die now, as with kill -9: nothing of it runs any more."""
        self.is_dead = True
        for call in list(self.on_death):
            call()

    def bury(self) -> None:
        """Run what was left, once nothing counts any more: tasks must not be destroyed half-way."""
        self.is_dead, self.dies_after = False, None
        left, self.left = self.left, []
        for step in left:
            step()


class _NoSelector(selectors.SelectSelector):
    """Waits for nothing real: it moves the time instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise AssertionError("everything waits, and nothing will ever happen")
        self.loop.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs callbacks of processes that live, in virtual time."""

    def __init__(self, chance: random.Random) -> None:
        selector = _NoSelector()
        self.now = STARTED_AT
        self.steps = 0
        self.unhandled: list[dict[str, Any]] = []
        self._chance = chance
        super().__init__(selector)
        selector.loop = self
        self.set_exception_handler(lambda _loop, context: self.unhandled.append(context))

    def time(self) -> float:
        """Return the virtual time."""
        return self.now

    def call_soon(  # type: ignore[override] # typeshed relates the arguments to the callback
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Call the callback if its process is alive then."""
        return super().call_soon(self._step, callback, args, context=context)

    def call_at(  # type: ignore[override] # as above
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call the callback at this time if its process is alive then."""
        return super().call_at(when, self._step, callback, args, context=context)

    call_soon_threadsafe = call_soon  # type: ignore[assignment] # there is one thread

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Run the function in the loop."""
        del executor
        return asyncio.wrap_future(self.submit(func, *args), loop=self)

    def submit(self, func: Callable[..., Any], *args: Any) -> concurrent.futures.Future[Any]:
        """Run a function of an executor after a short while, unless its process dies before."""
        job: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self.call_later(self._chance.uniform(0, JOB_SECONDS), _run, job, func, args)
        return job

    def _step(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.steps += 1
        owner = process.get()
        if owner is None or owner.step():
            callback(*args)
        else:
            context = contextvars.copy_context()
            owner.left.append(lambda: self.call_soon(callback, *args, context=context))


def _run(job: concurrent.futures.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if not job.set_running_or_notify_cancel():
        return
    try:
        job.set_result(func(*args))
    except BaseException as error:  # noqa: BLE001 - raised in the caller
        job.set_exception(error)


class VirtualClock:
    """The clock of one process: its wall clock may be wrong, its monotonic one is not."""

    def __init__(self, loop: VirtualLoop, *, skew_seconds: float = 0.0) -> None:
        self._loop = loop
        self.skew_seconds = skew_seconds

    def time(self) -> float:
        """Return seconds since the epoch, as this process sees them."""
        return EPOCH + self._loop.now + self.skew_seconds

    def monotonic(self) -> float:
        """Return the loop's time."""
        return self._loop.now


@contextmanager
def virtual_time(seed: int) -> Iterator[VirtualLoop]:
    """Run within the context on virtual time, with the standard library's sources of chance seeded."""
    chance = random.Random(seed)  # noqa: S311 - repeatable
    loop = VirtualLoop(chance)

    def sleep(seconds: float) -> None:
        loop.now += seconds

    def submit(_pool: object, func: Callable[..., Any], /, *args: Any) -> concurrent.futures.Future[Any]:
        return loop.submit(func, *args)

    state = random.getstate()
    random.seed(seed)
    gc.disable()  # a sixth of the time of a run
    try:
        with (
            patch.object(time, "monotonic", loop.time),
            patch.object(time, "sleep", sleep),
            patch.object(random, "_urandom", chance.randbytes),  # below the module `secrets`
            patch.object(concurrent.futures.ThreadPoolExecutor, "submit", submit),
        ):
            yield loop
    finally:
        loop.close()
        gc.enable()
        random.setstate(state)
