"""Builds the work that runs in the background of a mount."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

from kombo_embed.core.details import DetailsReader
from kombo_embed.core.housekeeping import Housekeeping
from kombo_embed.core.periodic_reconcile import PeriodicReconciler
from kombo_embed.kombo.client import KomboClient
from kombo_embed.ports import Clock
from kombo_embed.settings import Settings
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


def build_periodic_work(
    settings: Settings,
    client: KomboClient,
    store: Store,
    *,
    clock: Clock,
    wake_dispatcher: Callable[[], None],
) -> Iterator[Housekeeping | PeriodicReconciler]:
    """Build what the clock starts."""
    yield Housekeeping(
        store,
        retention=timedelta(days=settings.retention_days),
        audit_retention=timedelta(days=settings.audit_retention_days),
        lifetime_seconds=settings.lifetime_seconds,
        clock=clock,
        wake_dispatcher=wake_dispatcher,
    )
    if settings.reconcile_interval is not None:
        yield PeriodicReconciler(
            client,
            store,
            store.details,
            every=settings.reconcile_interval,
            per_second=settings.reconciled_per_second,
            clock=clock,
            wake_dispatcher=wake_dispatcher,
        )
