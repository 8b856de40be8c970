"""Counts the facts of a day or an hour, by tool. Each query reads the entries of an index for that time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Float,
    ScalarSelect,
    and_,
    case,
    cast,
    extract,
    func,
    or_,
    select,
    text,
)

from kombo_embed.store.event_tables import FLOWS
from kombo_embed.store.tables import events, integrations, minted_links, received_events
from kombo_embed.store.transaction import Transaction

LINKS, CONNECTED, SET_UP, HEALTHY = "links", "connected", "set_up", "healthy"
FAILED, ABANDONED, WEBHOOKS, REJECTED = "failed", "abandoned", "webhooks", "rejected"
EVENT_METRICS = {"flow.failed": FAILED, "flow.abandoned": ABANDONED}
HANDED_OUT = ("connect", "magic_link")  # purposes of links
DURATIONS = tuple(2**power for power in range(3, 21))  # seconds, from eight to twelve days
BINS = tuple(f"took.{number:02}" for number in range(len(DURATIONS) + 1))

Key = tuple[str, datetime, str]  # the metric, the beginning of the day or hour, and the tool or reason
Counts = dict[Key, int]
COLUMNS = integrations.c


def metrics(*, with_durations: bool) -> tuple[str, ...]:
    """Return the names of what `count_day` counts."""
    names = LINKS, CONNECTED, SET_UP, HEALTHY, FAILED, ABANDONED
    return (*names, *BINS) if with_durations else names


async def count_day(transaction: Transaction, day: datetime, *, with_durations: bool) -> Counts:
    """Count the links and failures of a day, and the integrations that were connected on it."""
    found = await _count_links(transaction, day) | await _count_flows(transaction, day)
    found |= await _count_integrations(transaction, day)
    if with_durations and any(key[0] == CONNECTED for key in found):
        found |= await _count_durations(transaction, day)
    return found


async def count_webhooks(transaction: Transaction, hour: datetime) -> Counts:
    """Count the webhook events of an hour."""
    query = select(func.count()).where(*_within(transaction, received_events.c.received_at, hour, hours=1))
    count = (await transaction.connection.execute(query)).scalar_one()
    return {(WEBHOOKS, hour, ""): count} if count else {}


async def _count_links(transaction: Transaction, day: datetime) -> Counts:
    tool = func.coalesce(minted_links.c.tool, "")
    query = select(tool, func.count()).where(
        *_within(transaction, minted_links.c.minted_at, day), minted_links.c.purpose.in_(HANDED_OUT)
    )
    rows = await transaction.connection.execute(query.group_by(tool))
    return {(LINKS, day, name): count for name, count in rows}


async def _count_flows(transaction: Transaction, day: datetime) -> Counts:
    tool = func.coalesce(events.c.data["tool"].as_string(), "")
    query = select(events.c.type, tool.label("tool")).where(
        *_within(transaction, events.c.occurred_at, day), text(FLOWS)
    )
    some = query.subquery()
    rows = await transaction.connection.execute(
        select(some.c.type, some.c.tool, func.count()).group_by(some.c.type, some.c.tool)
    )
    return {(EVENT_METRICS[event_type], day, name): number for event_type, name, number in rows}


async def _count_integrations(transaction: Transaction, day: datetime) -> Counts:
    is_set_up = COLUMNS.setup_status == "COMPLETED"
    works = or_(COLUMNS.status.is_(None), COLUMNS.status.not_in(["INVALID", "INACTIVE"]))
    is_healthy = and_(is_set_up, works, COLUMNS.deleted_at.is_(None))
    query = (
        select(COLUMNS.tool, func.count(), _count_if(is_set_up), _count_if(is_healthy))
        .where(*_within(transaction, COLUMNS.connected_at, day))
        .group_by(COLUMNS.tool)
    )
    found: Counts = {}
    for tool, *numbers in await transaction.connection.execute(query):
        named = zip((CONNECTED, SET_UP, HEALTHY), numbers, strict=True)
        found |= {(name, day, tool): number for name, number in named if number}
    return found


async def _count_durations(transaction: Transaction, day: datetime) -> Counts:
    """Count how long it took from the last link before a connection to that connection."""
    seconds = _seconds_between(_last_link(), COLUMNS.connected_at, transaction.connection.dialect.name)
    each = select(COLUMNS.tool, seconds.label("seconds")).where(
        *_within(transaction, COLUMNS.connected_at, day)
    )
    # Otherwise PostgreSQL would look the link up again for each bin.
    some = each.cte("durations").prefix_with("MATERIALIZED", dialect="postgresql")
    steps = [(some.c.seconds <= most, name) for most, name in zip(DURATIONS, BINS, strict=False)]
    name = case(*steps, else_=BINS[-1])
    named = select(some.c.tool, name.label("bin")).where(some.c.seconds.is_not(None)).subquery()
    query = select(named.c.bin, named.c.tool, func.count()).group_by(named.c.bin, named.c.tool)
    rows = await transaction.connection.execute(query)
    return {(one, day, tool): count for one, tool, count in rows}


def _last_link() -> ScalarSelect[datetime]:
    """Return the query for the time of the last link before an integration was connected."""
    links = minted_links.c
    return (
        select(links.minted_at)
        .where(
            links.environment == COLUMNS.environment,
            links.origin_id == COLUMNS.origin_id,
            links.minted_at <= COLUMNS.connected_at,
            links.purpose.in_(HANDED_OUT),
        )
        .order_by(links.id.desc())
        .limit(1)
        .correlate(integrations)
        .scalar_subquery()
    )


def _within(
    transaction: Transaction, column: Column[datetime], start: datetime, *, hours: int = 24
) -> tuple[ColumnElement[bool], ...]:
    ours = column.table.c.environment == transaction.environment
    return ours, column >= start, column < start + timedelta(hours=hours)


def _count_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _seconds_between(first: Any, last: Any, dialect_name: str) -> ColumnElement[float]:  # noqa: ANN401 - times
    if dialect_name == "postgresql":
        return cast(extract("epoch", last - first), Float)
    return (func.julianday(last) - func.julianday(first)) * 86_400
