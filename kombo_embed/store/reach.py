"""Whether the database can be used, told in two lines of the log: when it goes, and when it is back."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from kombo_embed.errors import StoreUnavailable

logger = logging.getLogger("kombo_embed.store")

STEADY = 5.0  # seconds without a failure after which it is taken to be back: it may come and go


class Reach:
    """Hears how each piece of work ended. While the database is gone, all that fails is one warning.

    Args:
        monotonic: Seconds on a clock that never goes back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._gone = False
        self._failed_at = -math.inf

    def failed(self, error: StoreUnavailable) -> None:
        """A piece of work could not be done."""
        self._failed_at = self._monotonic()
        if self._gone:
            logger.debug("store.unavailable, as before: %s", error)
            return
        self._gone = True
        logger.warning("store.unavailable: %s", error)

    def succeeded(self) -> None:
        """A piece of work was done."""
        if self._gone and self._monotonic() - self._failed_at >= STEADY:
            self._gone = False
            logger.warning("store.back: the database can be used again")
