"""Counts per day and hour, kept beside the facts: pages read them, however many facts there are.

One process at a time counts again what changed since the last time, and replaces the counts. So neither a
late commit nor a repetition counts anything twice, and no transaction that writes facts waits for a counter.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Column, ScalarSelect, and_, delete, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from kombo_embed.store.database import read_only, run_to_completion
from kombo_embed.store.part import StorePart
from kombo_embed.store.support import counts
from kombo_embed.store.tables import events, integrations, minted_links, received_events, rollups
from kombo_embed.store.transaction import Transaction

DAYS = 91  # of which the overview shows up to ninety whole ones
HOURS = 48
DAYS_PER_FOLD = 10  # of the past, after the first start of this version
EVENTS_PER_READ = 5_000
OVERLAP = timedelta(minutes=1)  # a transaction may commit after later ones, and clocks may differ
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Times in the table: up to when changes were counted, and the last day that was counted for the first time.
TIMES = KNOWN, PAST = "position.changes", "position.past"


@dataclass(frozen=True, slots=True)
class Changes:
    """What to count again: whole days, those among them that are new, and the hours since ``since``."""

    days: frozenset[datetime]
    new_days: frozenset[datetime]
    since: datetime
    until: datetime
    has_more: bool


class Rollups(StorePart):
    """The counts of one environment. The process that holds the lease calls `fold`."""

    @read_only
    async def has_changes(self) -> bool:
        """Return whether there may be facts that are not counted yet, by one statement."""
        async with self._reading() as transaction:
            newest, known, past = await _read_newest(transaction)
            if newest is None:
                return False
            return past is None or past < _day(transaction.now) or newest > (known or EPOCH) - OVERLAP

    async def fold(self) -> bool:
        """Count again what changed, a day in a transaction, and replace the counts.

        Return whether there is more than one fold should count.
        """
        changes = await self._find_changes()
        found = await self._count_hours(changes.since)
        counted: set[tuple[str, datetime]] = set()
        for day in sorted(changes.days):
            # How long a connection took does not change later.
            with_durations = day in changes.new_days or day >= _day(changes.until) - DAY
            found |= await self._count_day(day, with_durations=with_durations)
            counted |= {(name, day) for name in counts.metrics(with_durations=with_durations)}
        await self._save(changes, found, counted)
        return changes.has_more

    async def _find_changes(self) -> Changes:
        """Find what changed since the last fold, of which a minute is counted twice."""
        changes = await self._find_new()
        days, position = set(changes.days), changes.since
        while position < changes.until:
            some, position = await self._read_days(position, until=changes.until)
            days |= some
        today = _day(changes.until)
        return replace(changes, days=frozenset(day for day in days if today - DAYS * DAY <= day <= today))

    @read_only
    async def _find_new(self) -> Changes:
        """Return the days that were never counted, and those on which links were minted."""
        async with self._reading() as transaction:
            until, (_, known, past) = transaction.now, await _read_newest(transaction)
            since = (known or until - HOURS * HOUR) - OVERLAP
            first = await _first_day(transaction, past, earliest=_day(until) - DAYS * DAY)
            new = [first + number * DAY for number in range((_day(until) - first).days + 1)]
            days = {*new[:DAYS_PER_FOLD]}
            newest = await _outermost(transaction, minted_links.c.minted_at)
            if newest is not None and newest > since:
                days |= {_day(newest), _day(since)}
        new_days = frozenset(new[:DAYS_PER_FOLD])
        return Changes(frozenset(days), new_days, since, until, has_more=len(new) > DAYS_PER_FOLD)

    @read_only
    async def _read_days(self, since: datetime, *, until: datetime) -> tuple[set[datetime], datetime]:
        """Return the days that the next events after a time are about, and up to when these were read."""
        at, connected_at = events.c.occurred_at, events.c.integration["connected_at"].as_string()
        later = events.c.environment == self._environment, at > since
        last = select(at).where(*later).order_by(at).offset(EVENTS_PER_READ - 1).limit(1)
        async with self._reading() as transaction:
            execute = transaction.connection.execute
            end = (await execute(last)).scalar_one_or_none()
            page = later if end is None else (*later, at <= end)
            some = select(func.substr(connected_at, 1, 10).label("day"), at).where(*page).subquery()
            each = select(some.c.day, func.min(some.c.occurred_at), func.max(some.c.occurred_at))
            rows = (await execute(each.group_by(some.c.day))).all()
        days = {datetime.fromisoformat(row.day).replace(tzinfo=UTC) for row in rows if row.day}
        return days | {_day(time) for row in rows for time in row[1:]}, end or until

    @read_only
    async def _count_hours(self, since: datetime) -> counts.Counts:
        async with self._reading() as transaction:
            found: counts.Counts = {}
            first = await _outermost(transaction, received_events.c.received_at, since=since)
            for hour in [] if first is None else _hours(first, transaction.now):
                found |= await counts.count_webhooks(transaction, hour)
            return found

    @read_only
    async def _count_day(self, day: datetime, *, with_durations: bool) -> counts.Counts:
        async with self._reading() as transaction:
            return await counts.count_day(transaction, day, with_durations=with_durations)

    @run_to_completion
    async def _save(self, changes: Changes, found: counts.Counts, counted: set[tuple[str, datetime]]) -> None:
        async with self._reading() as transaction:
            stored = await _read_stored(transaction, changes)
        gone = [key for key in stored if key[:2] in counted and key not in found]
        changed = {key: count for key, count in found.items() if stored.get(key) != count}
        times = {(KNOWN, EPOCH, ""): _micros(changes.until)}
        if changes.new_days:
            times[PAST, EPOCH, ""] = _micros(max(changes.new_days))
        async with self._writing() as transaction:
            await _delete(transaction, gone)
            await _write(transaction, changed | times)

    @run_to_completion
    async def add(self, metric: str, numbers: Mapping[str, int]) -> None:
        """Add to the counts of this hour, one for each reason."""
        async with self._writing() as transaction:
            hour = transaction.now.replace(minute=0, second=0, microsecond=0)
            added = {(metric, hour, reason): number for reason, number in numbers.items()}
            await _write(transaction, added, adds=True)


async def _first_day(transaction: Transaction, past: datetime | None, *, earliest: datetime) -> datetime:
    """Return the first day that was never counted: after the last one that was, or that of the first fact."""
    if past is not None:
        return max(past + DAY, earliest)
    columns = integrations.c.connected_at, minted_links.c.minted_at, events.c.occurred_at
    found = [await _outermost(transaction, column, since=earliest) for column in columns]
    return _day(min((one for one in found if one is not None), default=transaction.now))


async def _read_newest(transaction: Transaction) -> list[datetime | None]:
    """Return when the newest fact was written, and the two times that the last fold saved."""
    columns = events.c.occurred_at, minted_links.c.minted_at, received_events.c.received_at
    newest = [
        select(column)
        .where(column.table.c.environment == transaction.environment)
        .order_by(column.desc())
        .limit(1)
        .scalar_subquery()
        for column in columns
    ]
    query = select(*newest, *(_time(transaction, name) for name in TIMES))
    *facts, known, past = (await transaction.connection.execute(query)).one()
    times = [None if number is None else EPOCH + timedelta(microseconds=number) for number in (known, past)]
    return [max((time for time in facts if time is not None), default=None), *times]


def _time(transaction: Transaction, name: str) -> ScalarSelect[int]:
    is_time = rollups.c.metric == name, rollups.c.bucket == EPOCH, rollups.c.dimension == ""
    ours = rollups.c.environment == transaction.environment
    return select(rollups.c.count).where(ours, *is_time).scalar_subquery()


async def _outermost(
    transaction: Transaction, column: Column[datetime], *, since: datetime | None = None
) -> datetime | None:
    """Return the newest time in a column, or the oldest one since a time."""
    query = select(column).where(column.table.c.environment == transaction.environment)
    ordered = (
        query.order_by(column.desc()) if since is None else query.where(column >= since).order_by(column)
    )
    return (await transaction.connection.execute(ordered.limit(1))).scalar_one_or_none()


async def _read_stored(transaction: Transaction, changes: Changes) -> counts.Counts:
    names = counts.metrics(with_durations=True)
    columns = [rollups.c[name] for name in ("metric", "bucket", "dimension", "count")]
    query = select(*columns).where(
        rollups.c.environment == transaction.environment,
        or_(
            and_(rollups.c.metric.in_(names), rollups.c.bucket.in_(changes.days)),
            and_(rollups.c.metric == counts.WEBHOOKS, rollups.c.bucket >= changes.since - HOUR),
        ),
    )
    rows = await transaction.connection.execute(query)
    return {(name, bucket, dimension): count for name, bucket, dimension, count in rows}


async def _write(transaction: Transaction, new: counts.Counts, *, adds: bool = False) -> None:
    if not new:
        return
    names = "metric", "bucket", "dimension"
    rows = [
        {"environment": transaction.environment, **dict(zip(names, key, strict=True)), "count": count}
        for key, count in sorted(new.items())
    ]
    statement = _upsert(transaction.connection.dialect.name, adds=adds)
    await transaction.connection.execute(statement, rows)


async def _delete(transaction: Transaction, keys: Iterable[counts.Key]) -> None:
    for metric, bucket, dimension in keys:
        is_one = rollups.c.metric == metric, rollups.c.bucket == bucket, rollups.c.dimension == dimension
        ours = rollups.c.environment == transaction.environment
        await transaction.connection.execute(delete(rollups).where(ours, *is_one))


@functools.cache
def _upsert(dialect_name: str, *, adds: bool) -> Any:  # noqa: ANN401 - of two dialects
    dialect = postgresql if dialect_name == "postgresql" else sqlite
    statement = dialect.insert(rollups)
    new = statement.excluded.count
    return statement.on_conflict_do_update(
        index_elements=list(rollups.primary_key.columns),
        set_={"count": rollups.c.count + new if adds else new},
    )


def _hours(first: datetime, now: datetime) -> list[datetime]:
    last = now.replace(minute=0, second=0, microsecond=0)
    number = min(HOURS, max(1, int((last - first) / HOUR) + 2))
    return [last - behind * HOUR for behind in range(number)]


def _day(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)
