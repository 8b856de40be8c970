"""Single-flight: concurrent callers of the same key share one running piece of work.

The work does not belong to a caller, so a caller that disconnects does not cancel it for the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class SingleFlight(Generic[Key, Value]):
    """Runs at most one piece of work per key at a time. Close it with `aclose`."""

    def __init__(self) -> None:
        self._flights: dict[Key, asyncio.Task[Value]] = {}

    async def join(self, key: Key, work: Callable[[], Coroutine[Any, Any, Value]]) -> tuple[Value, bool]:
        """Return the result of the key's running work, or start it; the flag is whether it ran already.

        A failure is raised to all callers that wait, and the next call starts again.
        """
        flight = self._flights.get(key)
        joined = flight is not None
        if flight is None:
            flight = asyncio.get_running_loop().create_task(work(), name="kombo-embed single-flight")
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._land(key, done))
        return await asyncio.shield(flight), joined

    async def aclose(self) -> None:
        """Cancel the work that still runs, and wait until it has ended."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _land(self, key: Key, flight: asyncio.Task[Value]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # retrieved, or asyncio logs a failure whose callers have all disconnected


class NextFlight(Generic[Key, Value]):
    """Like `SingleFlight`, but no caller gets the result of work that began before the call.

    Those that come while work is running share the next run. If the running one fails, so does the next.
    """

    def __init__(self) -> None:
        self._running: dict[Key, asyncio.Task[Value]] = {}
        self._next: dict[Key, asyncio.Task[Value]] = {}

    async def join(self, key: Key, work: Callable[[], Coroutine[Any, Any, Value]]) -> Value:
        """Return the result of the key's next work."""
        flight = self._next.get(key)
        if flight is None:
            running = self._running.get(key)
            flight = asyncio.get_running_loop().create_task(self._run_after(running, key, work))
            flight.add_done_callback(lambda done: done.cancelled() or done.exception())  # retrieved, as above
            self._next[key] = flight
        return await asyncio.shield(flight)

    async def _run_after(
        self, earlier: asyncio.Task[Value] | None, key: Key, work: Callable[[], Coroutine[Any, Any, Value]]
    ) -> Value:
        if earlier is not None:
            await asyncio.wait({earlier})
        flight = self._running[key] = self._next.pop(key)
        try:
            if earlier is not None:
                earlier.result()  # raises what it raised, instead of missing a deadline again
            return await work()
        finally:
            if self._running.get(key) is flight:
                del self._running[key]
