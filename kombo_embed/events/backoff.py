"""How long to wait before a delivery is made again."""

from __future__ import annotations

MAX_BACKOFF_SECONDS = 3600.0
MAX_INNOCENT_CRASHES = 20  # deaths of its process that a delivery may have been present at by chance
MAX_INNOCENT_BACKOFF_SECONDS = 30.0  # so long such a delivery waits at most


def backoff_seconds(failures: int) -> float:
    """Return how long to wait after so many failures."""
    return min(2.0 ** min(failures, 30), MAX_BACKOFF_SECONDS)


def crash_backoff_seconds(crashes: int) -> float:
    """Return how long to wait if the process dies again during a delivery, after so many crashes."""
    # At most one of the deliveries that a process made when it died is the cause; the others wait briefly.
    if crashes <= MAX_INNOCENT_CRASHES:
        return min(backoff_seconds(crashes), MAX_INNOCENT_BACKOFF_SECONDS)
    return min(
        MAX_INNOCENT_BACKOFF_SECONDS * backoff_seconds(crashes - MAX_INNOCENT_CRASHES), MAX_BACKOFF_SECONDS
    )
