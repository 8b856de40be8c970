"""The retry policy towards Kombo: which failures are retried, and after how long."""

from __future__ import annotations

import asyncio
import random

from kombo_embed.errors import KomboRateLimited, KomboUnavailable

FIRST_PAUSE_SECONDS = 0.2  # doubled by each attempt
FIRST_RATE_LIMIT_PAUSE_SECONDS = 1.0  # where Kombo sends no Retry-After
LONGEST_RETRY_AFTER_SECONDS = 5  # a longer one is passed on to the browser


class RetryPolicy:
    """The backoff of one call, for stamina's ``on``; no attempt starts after the event loop's ``deadline``.

    Kombo calls only its rate limit and its unavailability safe to retry (docs.kombo.dev/guides/errors).
    """

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._attempts = 0

    def __call__(self, error: Exception) -> float | bool:
        """Return the seconds to wait before the next attempt, or False for none."""
        if not isinstance(error, KomboRateLimited | KomboUnavailable):
            return False
        if isinstance(error, KomboUnavailable) and not error.retryable:
            return False
        self._attempts += 1
        if error.has_retry_after:
            if error.retry_after > LONGEST_RETRY_AFTER_SECONDS:
                return False
            wait_seconds = float(error.retry_after)
        else:
            rate_limited = isinstance(error, KomboRateLimited)
            first = FIRST_RATE_LIMIT_PAUSE_SECONDS if rate_limited else FIRST_PAUSE_SECONDS
            wait_seconds = first * 2.0 ** (self._attempts - 1)
        wait_seconds += random.uniform(0.05, FIRST_PAUSE_SECONDS)  # noqa: S311 - jitter is not a secret
        left_seconds = self._deadline - asyncio.get_running_loop().time()
        return wait_seconds if wait_seconds < left_seconds else False
