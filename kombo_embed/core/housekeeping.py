"""Periodic work on the records: reporting abandoned flows and pruning old rows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from kombo_embed.core.periodic_work import PeriodicWork
from kombo_embed.core.records import RecordStore
from kombo_embed.ports import Clock, utc_now

logger = logging.getLogger("kombo_embed.core")

MAX_PAUSE_SECONDS = 60.0  # between checks for expired links, of which other processes may have minted some
LINKS_PER_BATCH = 100
FIRST_PRUNE_SECONDS = 600.0  # after the start: deliver what waited during the downtime first
PRUNE_INTERVAL_SECONDS = 3600.0
ROWS_PER_BATCH = 500  # of each kind in one transaction, so that other writers wait only briefly


class Housekeeping(PeriodicWork):
    """Runs the periodic work until `aclose`. Several processes may do so on one database.

    Finished rows are kept for ``retention``, the audit trail for ``audit_retention``. ``wake_dispatcher`` is
    called when an event for the host was written. Links are valid for ``lifetime_seconds`` at least, in every
    process.
    """

    name = "housekeeping"
    interval_seconds = 2.0

    def __init__(
        self,
        store: RecordStore,
        *,
        retention: timedelta,
        audit_retention: timedelta,
        lifetime_seconds: float,
        clock: Clock,
        wake_dispatcher: Callable[[], None],
    ) -> None:
        super().__init__()
        self._store = store
        self._retention = retention
        self._audit_retention = audit_retention
        self._clock = clock
        self._wake_dispatcher = wake_dispatcher
        self._greatest_pause = timedelta(seconds=min(lifetime_seconds, MAX_PAUSE_SECONDS))
        self._check_links_at = datetime.min.replace(tzinfo=UTC)
        self._prune_at = clock.monotonic() + FIRST_PRUNE_SECONDS

    async def run_once(self) -> None:
        """Do everything that is due. After `StoreUnavailable`, the next run does the rest."""
        while self._now() >= self._check_links_at:
            await self._close_expired_links()
        if self._clock.monotonic() >= self._prune_at:
            self._prune_at = self._clock.monotonic() + PRUNE_INTERVAL_SECONDS
            await self._prune()

    def log_failure(self, error: Exception) -> None:
        """Log an unexpected exception of a run."""
        logger.error("housekeeping.failed", exc_info=error)

    async def _close_expired_links(self) -> None:
        """Close a batch, and set when to look again: when the next link expires, known or not yet minted."""
        links = await self._store.close_expired_links(limit=LINKS_PER_BATCH)
        if links.abandoned:
            logger.info("flow.abandoned", extra={"count": links.abandoned})
            self._wake_dispatcher()
        latest = self._now() + self._greatest_pause
        self._check_links_at = min(links.next_expires_at or latest, latest)

    async def _prune(self) -> None:
        before, audit_before = self._now() - self._retention, self._now() - self._audit_retention
        pruned = 0
        while removed := await self._store.prune(
            before=before, audit_before=audit_before, limit=ROWS_PER_BATCH
        ):
            pruned += removed
        if pruned:
            logger.info("records.pruned", extra={"count": pruned, "retention_days": self._retention.days})

    def _now(self) -> datetime:
        return utc_now(self._clock)
