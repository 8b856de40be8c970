"""What the overview shows: the counts of the rollups, and what does not work now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Select, Subquery, Table, func, literal_column, select

from kombo_embed.store.database import read_only
from kombo_embed.store.lanes import UNDELIVERED
from kombo_embed.store.part import StorePart
from kombo_embed.store.support import counts
from kombo_embed.store.support.customers import IS_BROKEN
from kombo_embed.store.support.event_pages import FAILED_BEFORE
from kombo_embed.store.tables import deliveries, ended_deliveries, handlers, integrations, rollups
from kombo_embed.store.transaction import Transaction
from kombo_embed.store.webhook_events import LAST_RECEIVED

COUNTED = 1000  # at most, of what is not in the rollups; one more says that there are others
TOTALS = (counts.LINKS, counts.CONNECTED, counts.SET_UP, counts.HEALTHY, counts.FAILED, counts.ABANDONED)


@dataclass(frozen=True, slots=True)
class HandlerState:
    """The deliveries of one handler: since when the first is due, how many fail, and how many ended so."""

    handler: str
    due_since: datetime | None
    failing: int
    undelivered: int


@dataclass(frozen=True, slots=True)
class OverviewData:
    """The counts since a day. ``totals`` are by metric and tool, ``series`` by metric and day or hour."""

    totals: Mapping[str, Mapping[str, int]]
    series: Mapping[str, Mapping[datetime, int]]
    rejected: Mapping[str, int]
    broken: int
    handlers: list[HandlerState]
    last_webhook_at: datetime | None
    now: datetime


class Overview(StorePart):
    """Reads the overview."""

    @read_only
    async def read(self, *, days: int, hours: int) -> OverviewData:
        """Return the counts of the last days, today included, and those of webhooks of the last hours."""
        async with self._reading() as transaction:
            now = transaction.now
            first = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days - 1)
            first_hour = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours - 1)
            last = LAST_RECEIVED, {"environment": transaction.environment}
            return OverviewData(
                totals=await _read_totals(transaction, first, (*TOTALS, *counts.BINS)),
                series={
                    counts.CONNECTED: await _read_series(transaction, counts.CONNECTED, first),
                    counts.WEBHOOKS: await _read_series(transaction, counts.WEBHOOKS, first_hour),
                },
                rejected=(await _read_totals(transaction, first_hour, (counts.REJECTED,))).get(
                    counts.REJECTED, {}
                ),
                broken=await _count_broken(transaction),
                handlers=await _read_handlers(transaction),
                last_webhook_at=(await transaction.connection.execute(*last)).scalar_one_or_none(),
                now=now,
            )


async def _read_totals(
    transaction: Transaction, first: datetime, metrics: tuple[str, ...]
) -> dict[str, dict[str, int]]:
    columns = rollups.c.metric, rollups.c.dimension
    query = _since(transaction, select(*columns, func.sum(rollups.c.count)), first)
    rows = await transaction.connection.execute(query.where(rollups.c.metric.in_(metrics)).group_by(*columns))
    totals: dict[str, dict[str, int]] = {}
    for metric, dimension, count in rows:
        totals.setdefault(metric, {})[dimension] = int(count)
    return totals


async def _read_series(transaction: Transaction, metric: str, first: datetime) -> dict[datetime, int]:
    query = _since(transaction, select(rollups.c.bucket, func.sum(rollups.c.count)), first)
    query = query.where(rollups.c.metric == metric).group_by(rollups.c.bucket)
    return {bucket: int(count) for bucket, count in await transaction.connection.execute(query)}


def _since(transaction: Transaction, query: Select[Any], first: datetime) -> Select[Any]:
    return query.where(rollups.c.environment == transaction.environment, rollups.c.bucket >= first)


async def _count_broken(transaction: Transaction) -> int:
    columns = integrations.c
    query = select(columns.id).where(
        columns.environment == transaction.environment, columns.deleted_at.is_(None), IS_BROKEN
    )
    some = query.limit(COUNTED + 1).subquery()
    return int((await transaction.connection.execute(select(func.count()).select_from(some))).scalar_one())


async def _read_handlers(transaction: Transaction) -> list[HandlerState]:
    names = (
        select(handlers.c.handler)
        .where(handlers.c.environment == transaction.environment)
        .distinct()
        .subquery()
    )
    due_at = (
        select(deliveries.c.due_at)
        .where(
            deliveries.c.environment == transaction.environment,
            deliveries.c.handler == names.c.handler,
            deliveries.c.due_at.is_not(None),
        )
        .order_by(deliveries.c.due_at)
        .limit(1)
        .correlate(names)
        .scalar_subquery()
    )
    failing = _count_some(transaction, deliveries, names, FAILED_BEFORE)
    undelivered = _count_some(transaction, ended_deliveries, names, UNDELIVERED)
    query = select(names.c.handler, due_at, failing, undelivered).order_by(names.c.handler)
    return [HandlerState(*row) for row in await transaction.connection.execute(query)]


def _count_some(
    transaction: Transaction, table: Table, names: Subquery, condition: ColumnElement[bool]
) -> ScalarSelect[int]:
    some = (
        select(literal_column("1"))
        .select_from(table)
        .where(table.c.environment == transaction.environment, table.c.handler == names.c.handler, condition)
        .limit(COUNTED + 1)
        .correlate(names)
        .subquery()
    )
    return select(func.count()).select_from(some).correlate(names).scalar_subquery()
