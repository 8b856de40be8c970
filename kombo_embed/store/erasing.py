"""Removes an erased customer's rows, a batch per transaction. Every part can be repeated.

The sources of events are removed before the events, so that none is written from them afterwards.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from sqlalchemy import Select, Table, Text, and_, cast, delete, func, select, true, update

from kombo_embed.ports import ErasureBatch, ErasurePosition
from kombo_embed.store import erasure_marks
from kombo_embed.store.audit import COMMAND_LINE
from kombo_embed.store.customer_rows import (
    NAMING_INTEGRATIONS,
    WITH_BODIES,
    Customer,
    every_named,
    is_theirs,
    key_of,
    marked,
    named,
    names_customer,
)
from kombo_embed.store.tables import (
    audit,
    completions,
    deliveries,
    ended_deliveries,
    events,
    integrations,
    minted_links,
    outbox,
    received_events,
)
from kombo_embed.store.transaction import Transaction

REMOVED_IN_ORDER = (integrations, minted_links, outbox, events, received_events, completions, audit)

Rows = dict[str, int]


async def run_batch(
    transaction: Transaction, customer: Customer, position: ErasurePosition, *, limit: int
) -> ErasureBatch:
    """Do one batch of the part at this position."""
    run, table = PARTS[position.part]
    rows, after = await run(transaction, customer, table, position.after, limit)
    if after is not None:
        return ErasureBatch(rows, ErasurePosition(position.part, after))
    is_last = position.part + 1 == len(PARTS)
    return ErasureBatch(rows, None if is_last else ErasurePosition(position.part + 1))


async def only_reads(
    transaction: Transaction, customer: Customer, position: ErasurePosition, *, limit: int
) -> ErasureBatch | None:
    """Return a batch that has nothing to write, which most batches of bodies have not; else None."""
    run, table = PARTS[position.part]
    if run is not _remove_by_bodies:
        return None
    ids = await _read(transaction, marked(customer))
    keys, _, after = await find_in_bodies(
        transaction, customer, table, integration_ids=ids, after=position.after, limit=limit
    )
    if keys or after is None:
        return None
    return ErasureBatch({}, ErasurePosition(position.part, after))


async def remove_integration(transaction: Transaction, integration_id: str, *, origin_id: str | None) -> None:
    """Erase an integration whose customer was unknown when that customer was erased."""
    key = await erasure_marks.find_key(transaction)
    if key is None or origin_id is None:
        return
    customer = Customer(transaction.environment, origin_id, key)
    await erasure_marks.mark_integrations(transaction, customer.digest, [integration_id])
    for table in REMOVED_IN_ORDER:
        ours = table.c.environment == customer.environment
        query = select(key_of(table)).where(ours, table.c.integration_id == integration_id)
        await _remove(transaction, customer, table, await _read(transaction, query))


async def count(transaction: Transaction, customer: Customer) -> Rows:
    """Count the rows that columns attribute to this customer."""
    ids = await _read(transaction, every_named(customer))
    rows: Rows = {}
    for table in REMOVED_IN_ORDER:
        query = select(func.count()).select_from(table).where(is_theirs(table, customer, ids))
        rows[table.name] = (await transaction.connection.execute(query)).scalar_one()
    of_events = select(events.c.id).where(is_theirs(events, customer, ids))
    return rows | await _count_deliveries(transaction, of_events)


async def count_in_bodies(
    transaction: Transaction, customer: Customer, table: Table, *, after: str | int, limit: int
) -> tuple[Rows, str | int | None]:
    """Count rows that only their bodies attribute to this customer, in one batch of bodies."""
    ids = await _read(transaction, every_named(customer))
    keys, _, last = await find_in_bodies(
        transaction, customer, table, integration_ids=ids, after=after, limit=limit
    )
    rows = {table.name: len(keys)}
    return (rows | await _count_deliveries(transaction, keys) if table is events else rows), last


async def _count_deliveries(transaction: Transaction, event_row_ids: Select[Any] | Sequence[int]) -> Rows:
    rows: Rows = {}
    for table in (deliveries, ended_deliveries):
        query = select(func.count()).select_from(table).where(table.c.environment == transaction.environment)
        counted = await transaction.connection.execute(query.where(table.c.event_row_id.in_(event_row_ids)))
        rows[table.name] = counted.scalar_one()
    return rows


async def find_in_bodies(
    transaction: Transaction,
    customer: Customer,
    table: Table,
    *,
    integration_ids: Collection[str],
    after: str | int,
    limit: int,
) -> tuple[list[Any], list[str], str | int | None]:
    """Look through bodies that no column attributes; earlier versions did not fill the column.

    Return the keys of this customer's rows, the integrations that they name, and the last key of the batch.
    """
    key, is_known = key_of(table), is_theirs(table, customer, integration_ids).is_(true())
    query = select(key.label("key"), table.c.integration_id, cast(table.c.data, Text).label("body"))
    query = query.where(table.c.environment == customer.environment, table.c.origin_id.is_(None), ~is_known)
    if after != "":
        query = query.where(key > after)
    page = (await transaction.connection.execute(query.order_by(key).limit(limit))).all()
    found = [row for row in page if names_customer(row.body, customer, integration_ids)]
    named_too = [row.integration_id for row in found if row.integration_id is not None]
    return [row.key for row in found], named_too, page[-1].key if len(page) == limit else None


async def _mark_named(
    transaction: Transaction, customer: Customer, table: Table, after: str | int, limit: int
) -> tuple[Rows, str | int | None]:
    query = named(table, customer).where(table.c.integration_id.not_in(marked(customer))).limit(limit)
    found = await _read(transaction, query)
    await erasure_marks.mark_integrations(transaction, customer.digest, found)
    return {}, after if len(found) == limit else None


async def _remove_by_bodies(
    transaction: Transaction, customer: Customer, table: Table, after: str | int, limit: int
) -> tuple[Rows, str | int | None]:
    ids = await _read(transaction, marked(customer))
    keys, named_too, last = await find_in_bodies(
        transaction, customer, table, integration_ids=ids, after=after, limit=limit
    )
    await erasure_marks.mark_integrations(
        transaction, customer.digest, await _without_owner(transaction, customer, named_too)
    )
    return await _remove(transaction, customer, table, keys), last


async def _without_owner(
    transaction: Transaction, customer: Customer, integration_ids: Sequence[str]
) -> list[str]:
    """Return those of these integrations that are not recorded for any customer."""
    columns = integrations.c
    owned = select(columns.integration_id).where(
        columns.environment == customer.environment,
        columns.integration_id.in_(integration_ids),
        columns.origin_id.is_not(None),
    )
    with_owner = set((await transaction.connection.execute(owned)).scalars())
    return [one for one in dict.fromkeys(integration_ids) if one not in with_owner]


async def _remove_theirs(
    transaction: Transaction, customer: Customer, table: Table, after: str | int, limit: int
) -> tuple[Rows, str | int | None]:
    key, ids = key_of(table), await _read(transaction, marked(customer))
    query = select(key).where(is_theirs(table, customer, ids)).limit(limit)
    # The newest first: a handler's first delivery of an integration, which the others wait for, goes last.
    keys = await _read(transaction, query.order_by(key.desc()) if table is events else query)
    return await _remove(transaction, customer, table, keys), after if len(keys) == limit else None


async def _remove(transaction: Transaction, customer: Customer, table: Table, keys: Sequence[Any]) -> Rows:
    """Remove rows of one table, or what is personal in them."""
    if not keys:
        return {}
    rows = {} if table is not events else await _remove_deliveries(transaction, keys)
    which = and_(table.c.environment == customer.environment, key_of(table).in_(keys))
    if table is received_events:
        # The id stays, for the case that Kombo sends the event again.
        nothing: dict[str, Any] = {"data": {}, "report": None, "integration_id": None, "origin_id": None}
        await transaction.connection.execute(update(table).where(which).values(**nothing))
    elif table is audit:
        await _make_pseudonymous(transaction, customer, select(audit).where(which))
    else:
        await transaction.connection.execute(delete(table).where(which))
    return rows | {table.name: len(keys)}


async def _remove_deliveries(transaction: Transaction, event_row_ids: Sequence[int]) -> Rows:
    rows = {}
    for table in (deliveries, ended_deliveries):
        ours = table.c.environment == transaction.environment
        statement = delete(table).where(ours, table.c.event_row_id.in_(event_row_ids))
        rows[table.name] = (await transaction.connection.execute(statement)).rowcount
    return rows


async def _make_pseudonymous(transaction: Transaction, customer: Customer, which: Select[Any]) -> None:
    for row in (await transaction.connection.execute(which)).mappings().all():
        keeps_actor = row["actor"] in (None, COMMAND_LINE)
        values = {
            "origin_id": customer.pseudonym,
            "actor": row["actor"] if keeps_actor else customer.pseudonym_of(row["actor"]),
            "detail": None,
        }
        await transaction.connection.execute(update(audit).where(audit.c.id == row["id"]).values(**values))


async def _read(transaction: Transaction, query: Select[Any]) -> list[Any]:
    return list((await transaction.connection.execute(query)).scalars())


Part = Callable[[Transaction, Customer, Table, str | int, int], Awaitable[tuple[Rows, str | int | None]]]
PARTS: tuple[tuple[Part, Table], ...] = (
    *((_mark_named, table) for table in NAMING_INTEGRATIONS),
    *((_remove_by_bodies, table) for table in WITH_BODIES),
    *((_remove_theirs, table) for table in REMOVED_IN_ORDER),
)
