"""Single-flight: while a piece of work runs for a key, everybody who asks for that key waits for it.

The work belongs to the app, not to a caller: a caller that goes away does not cancel it for the rest.
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
        """Wait for the key's work, starting it if none runs; True if somebody else had started it.

        A failure is raised to all that wait, and the next call starts anew.
        """
        flight = self._flights.get(key)
        joined = flight is not None
        if flight is None:
            flight = asyncio.get_running_loop().create_task(work(), name="kombo-embed single-flight")
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._land(key, done))
        return await asyncio.shield(flight), joined

    async def aclose(self) -> None:
        """Cancel what still runs, and wait until it has stopped."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _land(self, key: Key, flight: asyncio.Task[Value]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # looked at, so that a failure whose callers all left is not reported as lost
