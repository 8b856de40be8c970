"""Lanes: the unfinished deliveries of one handler about one integration, made in the order of their events.

Only the first delivery of a lane, its head, has a due time. Every transaction that adds a delivery or ends a
head holds the integration's lock. Otherwise an insert that sees an unfinished head, and an ending of that
head that does not see the insert, would leave the lane without a head for ever.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Executable,
    FromClause,
    Integer,
    ScalarSelect,
    String,
    bindparam,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from kombo_embed.store.columns import UtcDateTime
from kombo_embed.store.tables import deliveries, ended_deliveries, events, handlers, outbox
from kombo_embed.store.transaction import Transaction

Lane = tuple[str, str]  # the handler's name and the integration's id

# Conditions of partial indexes, with literals: the databases do not compare parameters with them.
UNDELIVERED: ColumnElement[bool] = ended_deliveries.c.outcome != literal_column("'delivered'")
UNCLAIMED: ColumnElement[str] = literal_column("''", String)  # the handler of events that have none yet
AFTER_ALL: ColumnElement[int] = literal_column(str(2**63 - 1), BigInteger)  # after all row ids
LANES_PER_LOOK = 300
FIRST: Lane = ("\x01", "")  # before all lanes, and after the events without a handler


def shared_now(dialect_name: str) -> ColumnElement[Any]:
    """Return the time that all processes compare due times with: on PostgreSQL the server's, else ``now``."""
    if dialect_name == "postgresql":
        return func.statement_timestamp(type_=DateTime(timezone=True))
    return bindparam("now", type_=UtcDateTime())


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns or parameters that name a lane in a statement."""

    environment: Any
    handler: Any
    lane: Any

    def are(self, table: FromClause) -> tuple[ColumnElement[bool], ...]:
        """Return the conditions that a row of deliveries is in this lane."""
        return (
            table.c.environment == self.environment,
            table.c.handler == self.handler,
            table.c.lane == self.lane,
        )


def is_free(lane: Columns, *, before: Any) -> ColumnElement[bool]:  # noqa: ANN401 - a column or parameter
    """Return whether nothing of a lane is unfinished, so that its new delivery is the head."""
    unfinished = deliveries.alias("unfinished")
    has_unfinished = exists().where(*lane.are(unfinished)).correlate_except(unfinished)
    return ~or_(has_unfinished, has_earlier(lane, before=before))


def has_head(lane: Columns) -> ColumnElement[bool]:
    """Return whether a delivery of the lane is due or leased."""
    head = deliveries.alias("head")
    return exists().where(*lane.are(head), head.c.due_at.is_not(None)).correlate_except(head)


def has_earlier(lane: Columns, *, before: Any) -> ColumnElement[bool]:  # noqa: ANN401 - as above
    """Return whether an earlier event of the integration is no delivery yet, but will be one of the lane."""
    types, unclaimed = handlers.alias("types"), deliveries.alias("unclaimed")
    is_unclaimed = exists().where(
        unclaimed.c.environment == lane.environment,
        unclaimed.c.handler == UNCLAIMED,
        unclaimed.c.lane == lane.lane,
        unclaimed.c.type == types.c.type,
        unclaimed.c.event_row_id < before,
    )
    will_be_claimed = exists().where(
        types.c.environment == lane.environment,
        types.c.handler == lane.handler,
        is_unclaimed.correlate_except(unclaimed),
    )
    is_in_outbox = func.coalesce(_first_in_outbox(lane), AFTER_ALL) < before
    return or_(will_be_claimed.correlate_except(types), is_in_outbox)


def _first_in_outbox(lane: Columns) -> ScalarSelect[Any]:
    # Writers number the integration's events in the outbox before their own, so the first is the earliest.
    numbered = events.alias("numbered")
    return (
        select(numbered.c.id)
        .select_from(outbox.outerjoin(numbered, numbered.c.event_id == outbox.c.event_id))
        .where(
            outbox.c.environment == lane.environment,
            outbox.c.integration_id == lane.lane,
            outbox.c.delivered_at.is_(None),
            outbox.c.given_up_at.is_(None),
        )
        .order_by(outbox.c.id)
        .limit(1)
        .correlate_except(outbox, numbered)
        .scalar_subquery()
    )


async def ready(transaction: Transaction, lanes: Iterable[Lane]) -> int:
    """Make the first delivery of each lane due if the lane has no head; return of how many.

    The caller holds the integrations' locks.
    """
    parameters = [
        {
            "of_environment": transaction.environment,
            "of_handler": handler,
            "of_lane": lane,
            "now": transaction.now,
        }
        for handler, lane in sorted(set(lanes))
    ]
    if not parameters:
        return 0
    statement = _ready(transaction.connection.dialect.name)
    return max(0, (await transaction.connection.execute(statement, parameters)).rowcount)


async def end(transaction: Transaction, ended: Sequence[Mapping[str, Any]]) -> None:
    """End deliveries; the caller holds the integrations' locks, and calls `ready` for the lanes afterwards.

    Each is given by its row's columns and the ``outcome``: ``delivered``, ``dead`` or ``parked``.
    """
    if not ended:
        return
    same = ("event_row_id", "handler", "outcome", "failures", "last_error")
    record = {"environment": transaction.environment, "ended_at": transaction.now}
    rows = [record | {name: one[name] for name in same} for one in ended]
    await transaction.connection.execute(_insert_ended(transaction.connection.dialect.name), rows)
    ids = [one["id"] for one in ended]
    await transaction.connection.execute(delete(deliveries).where(deliveries.c.id.in_(ids)))


async def find_next(transaction: Transaction, after: Lane) -> list[tuple[Lane, bool]]:
    """Return the lanes after this one, up to a limit, and whether each has a head."""
    parameters = {
        "of_environment": transaction.environment,
        "after_handler": after[0],
        "after_lane": after[1],
    }
    rows = await transaction.connection.execute(_next_lanes(), parameters)
    return [((handler, lane), is_ready) for handler, lane, is_ready in rows]


@functools.cache
def _insert_ended(dialect_name: str) -> Executable:
    dialect = postgresql if dialect_name == "postgresql" else sqlite
    statement: Executable = dialect.insert(ended_deliveries).on_conflict_do_nothing()
    return statement


@functools.cache
def _ready(dialect_name: str) -> Executable:
    lane = Columns(*(bindparam(f"of_{name}", type_=String) for name in ("environment", "handler", "lane")))
    first = deliveries.alias("first")
    first_id = select(first.c.id).where(*lane.are(first)).order_by(first.c.event_row_id).limit(1)
    statement = update(deliveries).where(
        deliveries.c.id == first_id.correlate_except(first).scalar_subquery(),
        ~has_head(lane),
        ~has_earlier(lane, before=deliveries.c.event_row_id),
    )
    return statement.values(due_at=shared_now(dialect_name))


@functools.cache
def _next_lanes() -> Executable:
    """Step from lane to lane in the index, however many deliveries each has."""
    environment = bindparam("of_environment", type_=String)
    found = select(
        bindparam("after_handler", type_=String).label("handler"),
        bindparam("after_lane", type_=String).label("lane"),
        literal_column("0", Integer).label("number"),
    ).cte("found", recursive=True)
    later, following = deliveries.alias("later"), deliveries.alias("following")
    is_later = tuple_(later.c.handler, later.c.lane) > tuple_(found.c.handler, found.c.lane)
    following_id = (
        select(later.c.id)
        .where(later.c.environment == environment, later.c.lane.is_not(None), is_later)
        .order_by(later.c.handler, later.c.lane, later.c.event_row_id)
        .limit(1)
        .correlate(found)
        .scalar_subquery()
    )
    step = select(following.c.handler, following.c.lane, found.c.number + 1)
    step = step.join_from(found, following, following.c.id == following_id)
    found = found.union_all(step.where(found.c.number < LANES_PER_LOOK))
    is_ready = has_head(Columns(environment, found.c.handler, found.c.lane))
    return select(found.c.handler, found.c.lane, is_ready).where(found.c.number > 0).order_by(found.c.number)
