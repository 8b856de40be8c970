"""Builds the work that runs in the background of a mount."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta

from kombo_embed.core.details import DetailsReader
from kombo_embed.core.housekeeping import Housekeeping
from kombo_embed.core.periodic_reconcile import PeriodicReconciler
from kombo_embed.deliveries import EventHandlers
from kombo_embed.events.dispatcher import Dispatcher
from kombo_embed.kombo.client import KomboClient
from kombo_embed.ports import Clock, utc_now
from kombo_embed.settings import Settings
from kombo_embed.store.deliveries import Outbox
from kombo_embed.store.store import Store


def build_details_reader(
    settings: Settings,
    client: KomboClient,
    store: Store,
    *,
    clock: Clock,
    wake_dispatcher: Callable[[], None],
) -> DetailsReader:
    """Build what reads the details of new integrations."""
    return DetailsReader(
        client,
        store,
        store.details,
        timeout_seconds=settings.timeout,
        clock=clock,
        wake_dispatcher=wake_dispatcher,
    )


def build_housekeeping(
    settings: Settings, store: Store, *, clock: Clock, wake_dispatcher: Callable[[], None]
) -> Housekeeping:
    """Build what reports abandoned flows and prunes old rows."""
    return Housekeeping(
        store,
        retention=timedelta(days=settings.retention_days),
        audit_retention=timedelta(days=settings.audit_retention_days),
        lifetime_seconds=settings.lifetime_seconds,
        clock=clock,
        wake_dispatcher=wake_dispatcher,
    )


def build_reconciler(
    settings: Settings,
    client: KomboClient,
    store: Store,
    *,
    clock: Clock,
    wake_dispatcher: Callable[[], None],
) -> PeriodicReconciler | None:
    """Build what reconciles by itself; None if the settings disable it."""
    if settings.reconcile_interval is None:
        return None
    return PeriodicReconciler(
        client,
        store,
        store.details,
        every=settings.reconcile_interval,
        per_second=settings.reconciled_per_second,
        clock=clock,
        wake_dispatcher=wake_dispatcher,
    )


@dataclass(frozen=True, slots=True)
class DueWork:
    """The background work of a mount, as a test of a host waits for it."""

    outbox: Outbox
    handlers: EventHandlers
    housekeeping: Housekeeping
    details: DetailsReader
    dispatcher: Dispatcher
    _: KW_ONLY
    clock: Clock

    async def run(self) -> bool:
        """Do what is due now; return whether some of it still runs. Reconciliation is not part of it."""
        await self.housekeeping.run_once()
        is_reading = await self.details.read_due()
        self.dispatcher.wake()
        now = utc_now(self.clock)
        return is_reading or await self.outbox.has_unfinished(self.handlers.types_by_name(), now=now)
