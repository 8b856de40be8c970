"""Keeps the figures that metrics observe, so that no exporter has to wait for the database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from kombo_embed import telemetry
from kombo_embed.core.periodic_work import PeriodicWork
from kombo_embed.kombo.circuit_breaker import STATES
from kombo_embed.ports import Clock
from kombo_embed.telemetry import Figures, Observed

logger = logging.getLogger("kombo_embed.core")

MAX_AGE_SECONDS = 60.0  # older figures are not exported


class FiguresReader(Protocol):
    """Reads figures from the database."""

    async def read(self) -> Figures:
        """Return the current figures; raise `StoreUnavailable`."""


class ObservedFigures(PeriodicWork):
    """Reads the figures every few seconds, from the first time that an exporter asks for them.

    ``circuits`` returns the state of each circuit breaker.
    """

    name = "figures"
    interval_seconds = 10.0  # between reads

    def __init__(
        self, reader: FiguresReader, *, circuits: Callable[[], Mapping[str, str]], clock: Clock
    ) -> None:
        super().__init__()
        self._reader = reader
        self._circuits = circuits
        self._clock = clock
        self._figures: Figures | None = None
        self._read_at = 0.0
        self._wanted = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def observe(self, name: str) -> Observed:
        """Return the last known values of a metric, with their attributes. It may be called in any thread."""
        if name == telemetry.CIRCUIT_STATE:
            return self._observe_circuits()
        if not self._wanted.is_set():
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._wanted.set)
        figures = self._figures
        if figures is None or self._clock.monotonic() - self._read_at > MAX_AGE_SECONDS:
            return []
        if name == telemetry.INTEGRATIONS:
            return [(count, {"integration.status": status}) for status, count in figures.integrations.items()]
        return [(figures.pending if name == telemetry.PENDING else figures.lag_seconds, {})]

    async def run_once(self) -> None:
        """Read the figures, once an exporter has asked for some."""
        await self._wanted.wait()
        self._figures, self._read_at = await self._reader.read(), self._clock.monotonic()

    def log_failure(self, error: Exception) -> None:
        """Log an unexpected exception of a read."""
        logger.error("figures.failed", exc_info=error)

    def _observe_circuits(self) -> Observed:
        return [
            (int(state == current), {"circuit.name": name, "circuit.state": state})
            for name, current in self._circuits().items()
            for state in STATES
        ]
