"""Logs rejected webhooks, at most one line a minute: anyone can send some."""

from __future__ import annotations

import logging
import math
from collections import Counter

from kombo_embed.ports import Clock

logger = logging.getLogger("kombo_embed.web")

INTERVAL_SECONDS = 60.0  # between two lines
REMEDIES = {
    "not_configured": "set KOMBO_WEBHOOK_SECRET to the secret from Kombo's dashboard",
    "no_signature": "only Kombo should send requests to this path",
    "wrong_signature": "compare KOMBO_WEBHOOK_SECRET with the secret in Kombo's dashboard",
}


class WebhookRejections:
    """Counts rejected webhooks between two lines of the log. `aclose` logs those that are left.

    The counts by reason are also for the console, until they are taken.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._next_at = -math.inf
        self._count = 0
        self._reason = ""
        self._by_reason: Counter[str] = Counter()

    def add(self, reason: str) -> None:
        """Count a rejection, and log the count if the last line is a minute old; the reason is the last."""
        self._count += 1
        self._by_reason[reason] += 1
        self._reason = reason
        if self._clock.monotonic() >= self._next_at:
            self._log()

    def take(self) -> Counter[str]:
        """Return the counts by reason since the last call."""
        taken, self._by_reason = self._by_reason, Counter()
        return taken

    async def aclose(self) -> None:
        """Log what was counted since the last line."""
        if self._count:
            self._log()

    def _log(self) -> None:
        logger.warning(
            "webhook.rejected",
            extra={"count": self._count, "reason": self._reason, "remedy": REMEDIES[self._reason]},
        )
        self._next_at = self._clock.monotonic() + INTERVAL_SECONDS
        self._count = 0
