"""Events for the host: written in the transaction that they report, with a delivery for each handler.

An integration's events are numbered in the order of their commits, since their writers lock it.
"""

from __future__ import annotations

import functools
import secrets
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Executable,
    RowMapping,
    Select,
    bindparam,
    case,
    cast,
    exists,
    insert,
    literal_column,
    null,
    or_,
    select,
    union_all,
)

from kombo_embed.event import ABOUT_AN_INTEGRATION, EVENT_CLASSES, Event
from kombo_embed.integration import Integration
from kombo_embed.otel import current_trace_context
from kombo_embed.store.lanes import AFTER_ALL, UNCLAIMED, Columns, is_free, shared_now
from kombo_embed.store.tables import deliveries, events, handlers, outbox
from kombo_embed.store.transaction import Transaction

TIMES = ("connected_at", "updated_at")
# Columns of an event that the outbox of earlier versions has, too.
SHARED = (
    "environment",
    "event_id",
    "type",
    "origin_id",
    "integration_id",
    "integration",
    "data",
    "occurred_at",
)
ADDED = ("actor", "trace_context")  # that it does not have
NEW = ("environment", "event_row_id", "type", "handler", "lane", "due_at", "attempts", "failures")


async def write_event(
    transaction: Transaction,
    event_type: str,
    *,
    origin_id: str | None,
    integration: Integration | None = None,
    data: dict[str, object],
    actor: str | None = None,
) -> None:
    """Write an event for the host; it is delivered after the transaction has committed.

    The caller has locked the integration. ``actor`` is by default the transaction's.
    """
    execute, dialect_name = transaction.connection.execute, transaction.connection.dialect.name
    event_id, integration_id = secrets.token_hex(16), integration.integration_id if integration else None
    about = {"of_environment": transaction.environment, "of_type": event_type, "now": transaction.now}
    about |= {"of_integration_id": integration_id}
    fact: dict[str, Any] = {"of_event_id": event_id, "of_occurred_at": transaction.now}
    fact |= {"of_origin_id": origin_id, "of_integration": _to_json(integration), "of_data": data}
    fact |= {"of_actor": actor or transaction.actor, "of_trace_context": current_trace_context()}
    numbered = await execute(_insert_event(dialect_name), about | fact)
    row_id = next(row_id for row_id, written in numbered if written == event_id)
    await execute(_insert_deliveries(dialect_name), about | {"of_event_row_id": row_id})


def event_in(row: RowMapping) -> Event:
    """Return the event in a row.

    Raises `TypeError`, `ValueError` or `KeyError` if another version wrote it, in another form.
    """
    same = {name: row[name] for name in ("type", "occurred_at", "origin_id", "data", "actor")}
    integration = _from_json(row["integration"])
    if integration is None and row["type"] in ABOUT_AN_INTEGRATION:
        raise ValueError("the event lacks its integration")
    if row["type"] == "integration.updated":
        # Earlier versions did not write what changed.
        same["data"] = {"changes": {}, **row["data"]}
    return EVENT_CLASSES[row["type"]](id=row["event_id"], integration=integration, **same)


@functools.cache
def _insert_event(dialect_name: str) -> Executable:
    """Number the integration's events in the outbox of earlier versions first: they occurred earlier."""
    known = exists().where(events.c.event_id == outbox.c.event_id).correlate(outbox)
    unknown = [null().label(name) for name in ADDED]
    older = select(outbox.c.id.label("position"), *(outbox.c[name] for name in SHARED), *unknown).where(
        outbox.c.environment == _parameter(events.c.environment, dialect_name),
        outbox.c.integration_id == _parameter(events.c.integration_id, dialect_name),
        outbox.c.delivered_at.is_(None),
        outbox.c.given_up_at.is_(None),
        ~known,
    )
    names = (*SHARED, *ADDED)
    values = [_parameter(events.c[name], dialect_name).label(name) for name in names]
    every = union_all(select(AFTER_ALL.label("position"), *values), older).subquery()
    ordered = select(*(every.c[name] for name in names)).order_by(every.c.position)
    return insert(events).from_select(list(names), ordered).returning(events.c.id, events.c.event_id)


@functools.cache
def _insert_deliveries(dialect_name: str) -> Executable:
    environment = _parameter(deliveries.c.environment, dialect_name)
    event_type = _parameter(deliveries.c.type, dialect_name)
    lane = _parameter(events.c.integration_id, dialect_name)
    event_row_id = _parameter(deliveries.c.event_row_id, dialect_name)

    def row(handler: ColumnElement[str], due_at: ColumnElement[Any]) -> Select[Any]:
        zero: ColumnElement[int] = literal_column("0")
        return select(environment, event_row_id, event_type, handler, lane, due_at, zero, zero)

    of_type = handlers.c.environment == environment, handlers.c.type == event_type
    is_head = is_free(Columns(environment, handlers.c.handler, lane), before=event_row_id)
    now = shared_now(dialect_name)
    registered = row(handlers.c.handler, case((or_(lane.is_(None), is_head), now)))
    has_handler = exists().where(*of_type).correlate_except(handlers)
    unclaimed = row(UNCLAIMED, null()).where(~has_handler)
    return insert(deliveries).from_select(list(NEW), union_all(registered.where(*of_type), unclaimed))


def _parameter(column: Column[Any], dialect_name: str) -> ColumnElement[Any]:
    parameter = bindparam(f"of_{column.name}", type_=column.type)
    # PostgreSQL cannot infer the type of a parameter in the list of a SELECT; SQLite would convert the value.
    return cast(parameter, column.type) if dialect_name == "postgresql" else parameter


def _to_json(integration: Integration | None) -> dict[str, Any] | None:
    if integration is None:
        return None
    values = {name: getattr(integration, name) for name in Integration.__dataclass_fields__}
    return values | {name: values[name].isoformat() for name in TIMES}


def _from_json(value: dict[str, Any] | None) -> Integration | None:
    if value is None:
        return None
    # A version without some of the fields may have written it.
    known = {name: value[name] for name in Integration.__dataclass_fields__ if name in value}
    return Integration(**(known | {name: datetime.fromisoformat(value[name]) for name in TIMES}))
