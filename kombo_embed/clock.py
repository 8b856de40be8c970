"""The clock of this machine, as links need it: they end while it sleeps, too."""

from __future__ import annotations

import sys
import time
from typing import Final


class SystemClock:
    """Wall time, and time that is never set back and does not stop while the machine is suspended."""

    def time(self) -> float:
        """Seconds since the epoch (UTC)."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some moment in the past."""
        return time.monotonic() if _STEADY is None else time.clock_gettime(_STEADY)


def _steady() -> int | None:
    if sys.platform == "linux":
        return time.CLOCK_BOOTTIME  # CLOCK_MONOTONIC, and so time.monotonic(), stops (clock_gettime(2))
    if sys.platform == "darwin":
        return time.CLOCK_MONOTONIC  # goes on; time.monotonic() is another clock there, and stops
    return None  # elsewhere time.monotonic() goes on


_STEADY: Final = _steady()
