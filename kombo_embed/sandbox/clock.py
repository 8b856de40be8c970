"""The sandbox's own time: an hour-long link expires here without anybody waiting an hour."""

import time
from collections.abc import Callable
from datetime import UTC, datetime


class MovableClock:
    """Wall-clock time that can be moved forward.

    Args:
        source: Where the time comes from, as epoch seconds. Tests that want time to stand still
            pass a constant, such as ``lambda: 1_800_000_000.0``.
    """

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self._offset = 0.0

    def time(self) -> float:
        """Tell the sandbox's time as epoch seconds."""
        return self._source() + self._offset

    def now(self) -> datetime:
        """Tell the sandbox's time as an aware UTC datetime."""
        return datetime.fromtimestamp(self.time(), UTC)

    def advance(self, seconds: float) -> None:
        """Move the time forward; links and activation tokens older than their lifetime end at once."""
        self._offset += seconds

    def reset(self) -> None:
        """Go back to the time of the source."""
        self._offset = 0.0
