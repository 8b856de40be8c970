"""Builds the work that runs in the background of a mount."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta

from kombo_embed.core.details import DetailsReader
from kombo_embed.core.figures import ObservedFigures
from kombo_embed.core.housekeeping import Housekeeping
from kombo_embed.core.periodic_reconcile import Pace, PeriodicReconciler
from kombo_embed.core.periodic_work import PeriodicWork
from kombo_embed.deliveries import EventHandlers
from kombo_embed.events.dispatcher import Dispatcher
from kombo_embed.kombo.client import KomboClient
from kombo_embed.ports import Clock, utc_now
from kombo_embed.settings import Settings
from kombo_embed.store.deliveries import Outbox
from kombo_embed.store.store import Store
from kombo_embed.telemetry import Telemetry


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
    telemetry: Telemetry,
) -> PeriodicReconciler | None:
    """Build what reconciles by itself; None if the settings disable it."""
    if settings.reconcile_interval is None:
        return None
    return PeriodicReconciler(
        client,
        store,
        store.details,
        pace=Pace(settings.reconcile_interval, settings.reconciled_per_second),
        clock=clock,
        wake_dispatcher=wake_dispatcher,
        telemetry=telemetry,
    )


def build_observed_figures(
    client: KomboClient, store: Store, *, clock: Clock, telemetry: Telemetry
) -> ObservedFigures:
    """Build what keeps the figures that metrics observe."""
    figures = ObservedFigures(store.figures, circuits=client.circuit_states, clock=clock)
    telemetry.observe = figures.observe
    return figures


def build_periodic_work(
    settings: Settings,
    client: KomboClient,
    store: Store,
    *,
    clock: Clock,
    wake_dispatcher: Callable[[], None],
    telemetry: Telemetry,
) -> tuple[Housekeeping, *tuple[PeriodicWork, ...]]:
    """Build what the clock starts, the housekeeping first."""
    wake = wake_dispatcher
    housekeeping = build_housekeeping(settings, store, clock=clock, wake_dispatcher=wake)
    figures = build_observed_figures(client, store, clock=clock, telemetry=telemetry)
    reconciler = build_reconciler(
        settings, client, store, clock=clock, wake_dispatcher=wake, telemetry=telemetry
    )
    return (housekeeping, figures) if reconciler is None else (housekeeping, figures, reconciler)


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
