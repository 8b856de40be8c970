"""How long to wait before a call to Kombo is tried again, and whether it is."""

from __future__ import annotations

import asyncio
import random

from kombo_embed.errors import KomboRateLimited, KomboUnavailable

FIRST_PAUSE = 0.2  # seconds, doubled by each attempt
RATE_LIMIT_PAUSE = 1.0  # seconds, where Kombo says no number
RETRY_AFTER_OBEYED = 5  # seconds; a browser is told of a longer one instead of waiting for it here


class RetryPolicy:
    """The pauses of one call, as a hook of stamina's.

    Kombo calls few things safe to retry (docs.kombo.dev/guides/errors): its rate limit, and not being there.

    Args:
        deadline: The event loop's time after which nothing is tried any more.
    """

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._attempts = 0

    def __call__(self, error: Exception) -> float | bool:
        """Seconds to wait before the next attempt; False where there is to be none."""
        if not isinstance(error, KomboRateLimited | KomboUnavailable):
            return False
        if isinstance(error, KomboUnavailable) and not error.retryable:
            return False
        self._attempts += 1
        if error.has_retry_after:
            if error.retry_after > RETRY_AFTER_OBEYED:
                return False
            wait = float(error.retry_after)
        else:
            first = RATE_LIMIT_PAUSE if isinstance(error, KomboRateLimited) else FIRST_PAUSE
            wait = first * 2.0 ** (self._attempts - 1)
        wait += random.uniform(0.05, FIRST_PAUSE)  # noqa: S311 - jitter is no secret
        left = self._deadline - asyncio.get_running_loop().time()
        return wait if wait < left else False
