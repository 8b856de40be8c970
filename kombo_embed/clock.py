"""Clocks, and the one text form of times."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final


class SystemClock:
    """The machine's clock, with a monotonic part that continues while the machine is suspended.

    Links expire during a suspension, too.
    """

    def time(self) -> float:
        """Return seconds since the epoch (UTC)."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds on a clock that is never set back."""
        return time.monotonic() if _MONOTONIC is None else time.clock_gettime(_MONOTONIC)


class ManualClock:
    """A clock that a test or the sandbox can advance. A constant ``time`` stands still."""

    def __init__(
        self, time: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._time = time
        self._monotonic = monotonic
        self._offset = 0.0

    def time(self) -> float:
        """Return seconds since the epoch (UTC)."""
        return self._time() + self._offset

    def monotonic(self) -> float:
        """Return seconds on a clock that is never set back."""
        return self._monotonic() + self._offset

    def advance(self, seconds: float) -> None:
        """Move the time forward."""
        self._offset += seconds

    def reset(self) -> None:
        """Go back to the underlying clock."""
        self._offset = 0.0


def rfc3339(moment: datetime) -> str:
    """Return a time as RFC 3339, in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _monotonic() -> int | None:
    if sys.platform == "linux":
        return time.CLOCK_BOOTTIME  # CLOCK_MONOTONIC, and so time.monotonic(), stops (clock_gettime(2))
    if sys.platform == "darwin":
        return time.CLOCK_MONOTONIC  # continues; time.monotonic() reads another clock there, which stops
    return None  # on other platforms time.monotonic() continues


_MONOTONIC: Final = _monotonic()
