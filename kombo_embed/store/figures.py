"""Figures for metrics. A look costs the same however many rows there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, String, bindparam, func, literal_column, select

from kombo_embed.ports import Clock
from kombo_embed.store.database import Database, read_only
from kombo_embed.store.lanes import UNCLAIMED, shared_now
from kombo_embed.store.part import StorePart
from kombo_embed.store.tables import deliveries, handlers, integrations
from kombo_embed.telemetry import Figures

PENDING_MAX = 10_000  # deliveries that are counted
PAGE_SIZE = 1_000  # integrations that are counted in one look
STATUSES = ("ACTIVE", "INACTIVE", "INVALID")  # Kombo's; others are counted together
UNKNOWN, OTHER = "unknown", "other"
ENVIRONMENT = bindparam("of_environment", type_=String)

Counts = Sequence[Row[*tuple[Any, ...]]]


class FiguresReader(StorePart):
    """Reads the figures of one environment. One call at a time: it counts integrations by pages."""

    def __init__(self, database: Database, *, environment: str, clock: Clock) -> None:
        super().__init__(database, environment=environment, clock=clock)
        self._last_id = 0
        self._counting: Counter[str] = Counter()
        self._counted: Mapping[str, int] = {}

    async def read(self) -> Figures:
        """Return the current figures; of integrations, the counts of the last time that all were counted."""
        outbox, page = await self._look(self._last_id)
        self._count(page)
        pending = min(outbox.in_lanes + outbox.without_lane, PENDING_MAX)
        lag_seconds = (outbox.now - outbox.first_due_at).total_seconds() if outbox.first_due_at else 0.0
        return Figures(pending, max(0.0, lag_seconds), self._counted)

    @read_only
    async def _look(self, last_id: int) -> tuple[Row[*tuple[Any, ...]], Counts]:
        parameters = {"of_environment": self._environment, "now": self._now()}
        async with self._database.reading() as connection:
            outbox = (await connection.execute(_outbox(connection.dialect.name), parameters)).one()
            page = await connection.execute(_PAGE, {"of_environment": self._environment, "last_id": last_id})
            return outbox, page.all()

    def _count(self, page: Counts) -> None:
        for status, count, last_id in page:
            self._counting[UNKNOWN if status is None else status if status in STATUSES else OTHER] += count
            self._last_id = max(self._last_id, last_id)
        if sum(count for _, count, _ in page) < PAGE_SIZE:
            self._counted = {status: self._counting[status] for status in (*STATUSES, UNKNOWN, OTHER)}
            self._counting, self._last_id = Counter(), 0


def _outbox(dialect_name: str) -> Select[Any]:
    """Count deliveries by two indexes, one with their lanes and one with those that are due at some time."""
    of_handlers = deliveries.c.environment == ENVIRONMENT, deliveries.c.handler > UNCLAIMED
    one: ColumnElement[int] = literal_column("1")
    in_lanes = select(one).where(*of_handlers, deliveries.c.lane.is_not(None))
    due = select(deliveries.c.lane).where(*of_handlers, deliveries.c.due_at.is_not(None))
    counted, every_due = in_lanes.limit(PENDING_MAX).subquery(), due.limit(PENDING_MAX).subquery()
    first_due = select(deliveries.c.due_at).where(
        deliveries.c.environment == ENVIRONMENT,
        deliveries.c.handler == handlers.c.handler,
        deliveries.c.due_at.is_not(None),
    )
    first = first_due.order_by(deliveries.c.due_at).limit(1).correlate(handlers).scalar_subquery()
    first_due_at = select(func.min(first)).where(handlers.c.environment == ENVIRONMENT)
    without_lane = select(func.count()).select_from(every_due).where(every_due.c.lane.is_(None))
    return select(
        select(func.count()).select_from(counted).scalar_subquery().label("in_lanes"),
        without_lane.scalar_subquery().label("without_lane"),
        first_due_at.scalar_subquery().label("first_due_at"),
        shared_now(dialect_name).label("now"),
    )


def _page() -> Select[Any]:
    next_ones = select(integrations.c.id, integrations.c.status).where(
        integrations.c.environment == ENVIRONMENT,
        integrations.c.deleted_at.is_(None),
        integrations.c.id > bindparam("last_id"),
    )
    page = next_ones.order_by(integrations.c.id).limit(PAGE_SIZE).subquery()
    return select(page.c.status, func.count(), func.max(page.c.id)).group_by(page.c.status)


_PAGE = _page()
