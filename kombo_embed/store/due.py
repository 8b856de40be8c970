"""The search for due deliveries. Its cost depends neither on delivered events nor on those that wait."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Executable,
    FromClause,
    ScalarSelect,
    Select,
    String,
    and_,
    bindparam,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    union_all,
)

from kombo_embed.deliveries import Delivery
from kombo_embed.store.lanes import AFTER_ALL, UNCLAIMED, Columns, has_earlier, shared_now
from kombo_embed.store.outbox import event_in
from kombo_embed.store.tables import deliveries, events, handlers, outbox
from kombo_embed.store.transaction import Transaction

logger = logging.getLogger("kombo_embed.store")

TAKEN_ALONG = 19  # at most, of the deliveries that follow a head in its lane
DELIVERY = ("row_id", "event_row_id", "handler", "lane", "attempts", "failures", "last_error")
EVENT = ("event_id", "type", "origin_id", "integration", "data", "occurred_at", "actor", "trace_context")


@dataclass(frozen=True, slots=True)
class Found:
    """Which handlers have due deliveries, and whether events wait that are no deliveries yet."""

    handlers: list[str]
    unclaimed: bool
    in_outbox: bool


async def has_unfinished(transaction: Transaction, types_by_name: Mapping[str, Sequence[str]]) -> bool:
    """Return whether these handlers have deliveries that are due or are being made."""
    now = shared_now(transaction.connection.dialect.name)
    is_theirs = deliveries.c.handler.in_(list(types_by_name))
    types = {one for types in types_by_name.values() for one in types}
    is_about_to_be = and_(deliveries.c.handler == UNCLAIMED, deliveries.c.type.in_(types))
    is_current = or_(deliveries.c.due_at <= now, deliveries.c.lease_owner.is_not(None))
    query = select(deliveries.c.id).where(
        deliveries.c.environment == transaction.environment,
        or_(and_(is_theirs, is_current), is_about_to_be),
    )
    found = await transaction.connection.execute(query.limit(1), {"now": transaction.now})
    return found.first() is not None


async def look(transaction: Transaction, names: Sequence[str]) -> Found:
    """Look, in one statement, for due deliveries of these handlers and events that are no deliveries yet."""
    parameters = {"of_environment": transaction.environment, "names": names, "now": transaction.now}
    statement = _look(transaction.connection.dialect.name)
    rows = (await transaction.connection.execute(statement, parameters)).all()
    due = {name for kind, name in rows if kind == "due"}
    kinds = {kind for kind, _ in rows}
    return Found(sorted(due), unclaimed="unclaimed" in kinds, in_outbox="outbox" in kinds)


async def lock_heads(transaction: Transaction, name: str, *, limit: int) -> list[int]:
    """Lock due deliveries of this handler, except those that another process is leasing; return their ids."""
    parameters = {
        "of_environment": transaction.environment,
        "of_handler": name,
        "now": transaction.now,
        "at_most": limit,
    }
    statement = _heads(transaction.connection.dialect.name)
    return list((await transaction.connection.execute(statement, parameters)).scalars())


async def read_lanes(
    transaction: Transaction, heads: Sequence[int], *, owner: str
) -> tuple[list[list[Delivery]], list[int]]:
    """Return leased deliveries by lane, each head with the next ones, and the ids of those without an event.

    A delivery that is repeated has no followers: it may fail again, or kill this process.
    """
    lanes: dict[int, list[Delivery]] = {head: [] for head in heads}
    unreadable: set[int] = set()
    rows = await transaction.connection.execute(_with_followers(), {"heads": heads})
    for row in rows.mappings():
        head_id = row["head_id"]
        try:
            event = event_in(row)
        except (TypeError, ValueError, KeyError):
            # Another version of this package wrote it; a process of that version makes the delivery.
            logger.exception("outbox.unreadable", extra={"row_id": row["event_row_id"]})
            unreadable.add(head_id)
        if head_id not in unreadable:
            same = {name: row[name] for name in DELIVERY}
            same["trace_context"] = row["trace_context"]
            lanes[head_id].append(Delivery(event=event, lease_owner=owner, **same))
    gone = [head for head, lane in lanes.items() if not lane and head not in unreadable]
    return [lane for lane in lanes.values() if lane], gone


@functools.cache
def _look(dialect_name: str) -> Executable:
    environment = bindparam("of_environment", type_=String)
    # Each the first row in the order of an index, that is, a lookup for each handler. PostgreSQL could join
    # EXISTS to all deliveries, and read all of them for a type that it expects to be frequent.
    first_due = select(deliveries.c.due_at).where(
        deliveries.c.environment == environment, deliveries.c.handler == handlers.c.handler
    )
    due = _first(first_due, deliveries.c.due_at) <= shared_now(dialect_name)
    next_type = select(deliveries.c.type).where(
        deliveries.c.environment == environment,
        deliveries.c.handler == UNCLAIMED,
        deliveries.c.type >= handlers.c.type,
    )
    waiting = _first(next_type, deliveries.c.type) == handlers.c.type
    registered = handlers.c.environment == environment
    undelivered = exists().where(outbox.c.environment == environment, outbox.c.delivered_at.is_(None))
    return union_all(
        select(literal_column("'due'", String), handlers.c.handler).where(
            registered, handlers.c.handler.in_(bindparam("names", expanding=True)), due
        ),
        select(literal_column("'unclaimed'", String), literal_column("''", String)).where(
            exists().where(registered, waiting)
        ),
        select(literal_column("'outbox'", String), literal_column("''", String)).where(undelivered),
    )


def _first(query: Select[Any], order: Column[Any]) -> ScalarSelect[Any]:
    return query.where(order.is_not(None)).order_by(order).limit(1).correlate(handlers).scalar_subquery()


@functools.cache
def _heads(dialect_name: str) -> Executable:
    return (
        select(deliveries.c.id)
        .where(
            deliveries.c.environment == bindparam("of_environment"),
            deliveries.c.handler == bindparam("of_handler"),
            deliveries.c.due_at <= shared_now(dialect_name),
        )
        .order_by(deliveries.c.due_at)
        .limit(bindparam("at_most"))
        .with_for_update(skip_locked=True)
    )


@functools.cache
def _with_followers() -> Executable:
    head, follower = deliveries.alias("head"), deliveries.alias("follower")
    lane = Columns(head.c.environment, head.c.handler, head.c.lane)
    is_taken: BindParameter[int] = bindparam("heads", expanding=True)
    is_follower = and_(
        *lane.are(follower),
        follower.c.event_row_id > head.c.event_row_id,
        follower.c.event_row_id < func.coalesce(_end_of_followers(head, lane), AFTER_ALL),
    )
    heads = select(*_row(head, head, head.c.attempts)).join(events, events.c.id == head.c.event_row_id)
    followers = (
        select(*_row(head, follower, follower.c.attempts + 1))
        .select_from(head)
        .join(follower, is_follower)
        .join(events, events.c.id == follower.c.event_row_id)
        .where(
            head.c.attempts == literal(1),
            ~has_earlier(lane, before=follower.c.event_row_id),
            ~_is_overtaken(head, lane),
        )
    )
    both = (query.where(head.c.id.in_(is_taken)) for query in (heads, followers))
    return union_all(*both).order_by("event_row_id")


def _is_overtaken(head: FromClause, lane: Columns) -> ColumnElement[bool]:
    # An event from before its type had a handler may be claimed behind a head of another type: it comes next.
    earlier = deliveries.alias("earlier")
    is_earlier = earlier.c.event_row_id < head.c.event_row_id
    return exists().where(*lane.are(earlier), is_earlier).correlate_except(earlier)


def _end_of_followers(head: FromClause, lane: Columns) -> ScalarSelect[Any]:
    bound = deliveries.alias("bound")
    return (
        select(bound.c.event_row_id)
        .where(*lane.are(bound), bound.c.event_row_id > head.c.event_row_id)
        .order_by(bound.c.event_row_id)
        .limit(1)
        .offset(TAKEN_ALONG)
        .correlate(head)
        .scalar_subquery()
    )


def _row(head: FromClause, taken: FromClause, attempts: ColumnElement[int]) -> list[Any]:
    """Return the columns of a delivery; ``attempts`` counts the one that is made now."""
    own = [attempts.label(name) if name == "attempts" else taken.c[name] for name in DELIVERY[1:]]
    ids = [head.c.id.label("head_id"), taken.c.id.label("row_id")]
    return [*ids, *own, *(events.c[name] for name in EVENT)]
