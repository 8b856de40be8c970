"""Limits how many calls to Kombo the requests of one customer make at a time."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

CALLS_PER_CUSTOMER = 8  # of the connections that all customers share


class CustomerCalls:
    """A semaphore for each origin id, which exists while it is used.

    A burst within the rate limit would otherwise occupy all connections to Kombo. The calls of everyone else
    would then miss their deadlines, which opens the circuit breaker.
    """

    def __init__(self) -> None:
        self._semaphores: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def of(self, origin_id: str) -> asyncio.Semaphore:
        """Return the semaphore to hold during a call for this origin id."""
        return self._semaphores.setdefault(origin_id, asyncio.Semaphore(CALLS_PER_CUSTOMER))
