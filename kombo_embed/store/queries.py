"""Queries of integrations, each at the same cost however many there are.

A page continues after the integration of its cursor, so integrations that are added meanwhile move none. The
cursor is that integration's public id: the number of the row would show how many integrations the host has.
The order is that of their connection. Ordered by the number alone, PostgreSQL would expect to find them early
in the index of the numbers, which has those of all origin ids.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    RowMapping,
    Select,
    and_,
    bindparam,
    false,
    literal,
    literal_column,
    or_,
    select,
    tuple_,
    union_all,
)

from kombo_embed.integration import (
    ACTION_BY_SETUP_STATUS,
    ACTION_BY_STATUS,
    Integration,
    IntegrationPage,
    IntegrationQuery,
)
from kombo_embed.store.tables import integrations
from kombo_embed.store.transaction import Transaction

COLUMNS = integrations.c
OLDEST_FIRST = (integrations.c.connected_at, integrations.c.id)
PUBLIC_ID = re.compile(r"[A-Za-z0-9_-]{22}")  # 16 bytes in base64url, without padding
FIND = select(integrations).where(
    integrations.c.environment == bindparam("environment"),
    integrations.c.integration_id == bindparam("integration_id"),
)  # built once, since it is executed often


async def find(transaction: Transaction, integration_id: str) -> Integration | None:
    """Return an integration by Kombo's id."""
    return await _find_one(transaction, integrations.c.integration_id == integration_id)


async def find_public(transaction: Transaction, public_id: str, origin_id: str) -> Integration | None:
    """Return an integration by its public id if it belongs to this origin id."""
    if PUBLIC_ID.fullmatch(public_id) is None:
        return None
    return await _find_one(
        transaction, integrations.c.public_id == public_id, integrations.c.origin_id == origin_id
    )


async def list_of(transaction: Transaction, origin_id: str) -> list[Integration]:
    """Return an origin id's integrations, oldest first."""
    query = not_deleted(transaction, integrations.c.origin_id == origin_id).order_by(*OLDEST_FIRST)
    return [from_row(row) for row in (await transaction.connection.execute(query)).mappings()]


async def list_after(transaction: Transaction, integration_id: str, *, limit: int) -> list[Integration]:
    """Return the next page of all integrations, ordered by Kombo's id."""
    query = not_deleted(transaction, integrations.c.integration_id > integration_id)
    page = query.order_by(integrations.c.integration_id).limit(limit)
    return [from_row(row) for row in (await transaction.connection.execute(page)).mappings()]


async def find_row(transaction: Transaction, integration_id: str) -> RowMapping | None:
    """Return an integration's row, also of a deleted one."""
    key = {"environment": transaction.environment, "integration_id": integration_id}
    return (await transaction.connection.execute(FIND, key)).mappings().one_or_none()


async def lock_row(transaction: Transaction, integration_id: str) -> RowMapping | None:
    """Lock an integration until the transaction ends, then return its row, also of a deleted one."""
    await transaction.lock(integration_id)
    return await find_row(transaction, integration_id)


def from_row(row: RowMapping) -> Integration:
    """Return the integration in a row."""
    return Integration(**{name: row[name] for name in Integration.__dataclass_fields__})


async def list_page(
    transaction: Transaction, origin_id: str, query: IntegrationQuery
) -> IntegrationPage | None:
    """Return a page, oldest first; None if the cursor is not one of this origin id's."""
    # One more than the page shows whether there is another one.
    numbers = _live(transaction, origin_id).limit(query.limit + 1)
    if query.cursor is not None:
        last = await _find_place(transaction, origin_id, query.cursor)
        if last is None:
            return None
        numbers = numbers.where(tuple_(*OLDEST_FIRST) > tuple_(*last))
    if query.next_actions:
        numbers = numbers.where(or_(*(has_next_action(action) for action in query.next_actions)))
    # The inner query reads only the index, however few integrations match.
    page = select(integrations).where(COLUMNS.id.in_(numbers.order_by(*OLDEST_FIRST)))
    rows = (await transaction.connection.execute(page.order_by(*OLDEST_FIRST))).mappings().all()
    listed = [from_row(row) for row in rows[: query.limit]]
    return IntegrationPage(listed, listed[-1].public_id if len(rows) > query.limit else None)


async def find_connected(
    transaction: Transaction, origin_id: str, *, tool: str, category: str
) -> Integration | None:
    """Return the integration that connects a tool already, one to reconnect first, else the oldest.

    One of an unknown category counts if there is none of this category.
    """
    choices = []
    for in_category in (COLUMNS.category == category, COLUMNS.category.is_(None)):
        of_tool = _live(transaction, origin_id).where(COLUMNS.tool == tool, in_category)
        # A literal, for which the databases choose the index of these integrations.
        choices += [of_tool.where(COLUMNS.status == literal_column("'INVALID'")), of_tool]
    firsts = [choice.order_by(*OLDEST_FIRST).limit(1).subquery() for choice in choices]
    ranked = union_all(*(select(literal(rank).label("rank"), one.c.id) for rank, one in enumerate(firsts)))
    best = ranked.subquery()
    first = select(best.c.id).order_by(best.c.rank).limit(1).scalar_subquery()
    found = await transaction.connection.execute(select(integrations).where(COLUMNS.id == first))
    row = found.mappings().one_or_none()
    return None if row is None else from_row(row)


async def connected_tools(transaction: Transaction, origin_id: str, category: str) -> set[str]:
    """Return the tools that an origin id has connected in a category, or in an unknown one."""
    in_category = or_(COLUMNS.category == category, COLUMNS.category.is_(None))
    tools = _live(transaction, origin_id).where(in_category).with_only_columns(COLUMNS.tool).distinct()
    return set((await transaction.connection.execute(tools)).scalars())


async def _find_one(transaction: Transaction, *conditions: ColumnElement[bool]) -> Integration | None:
    query = not_deleted(transaction, *conditions)
    row = (await transaction.connection.execute(query)).mappings().one_or_none()
    return None if row is None else from_row(row)


async def _find_place(transaction: Transaction, origin_id: str, public_id: str) -> Row[Any] | None:
    if PUBLIC_ID.fullmatch(public_id) is None:
        return None
    # A deleted integration's, too: it may have been deleted since its page was read.
    query = select(*OLDEST_FIRST).where(
        COLUMNS.public_id == public_id,
        COLUMNS.environment == transaction.environment,
        COLUMNS.origin_id == origin_id,
    )
    return (await transaction.connection.execute(query)).one_or_none()


def not_deleted(transaction: Transaction, *conditions: ColumnElement[bool]) -> Any:  # noqa: ANN401 - Select is generic over its row
    """Return the query of integrations that are not deleted."""
    return select(integrations).where(
        integrations.c.environment == transaction.environment,
        integrations.c.deleted_at.is_(None),
        *conditions,
    )


def _live(transaction: Transaction, origin_id: str) -> Select[int]:
    return select(COLUMNS.id).where(
        COLUMNS.environment == transaction.environment,
        COLUMNS.origin_id == origin_id,
        COLUMNS.deleted_at.is_(None),
    )


def has_next_action(action: str) -> ColumnElement[bool]:
    """Return the condition that `Integration.next_action` is this one."""
    for status, name in ACTION_BY_STATUS.items():
        if action == name:
            return COLUMNS.status == status
    by_setup = or_(COLUMNS.status.is_(None), COLUMNS.status.not_in(ACTION_BY_STATUS))
    for setup_status, name in ACTION_BY_SETUP_STATUS.items():
        if action == name:
            return and_(by_setup, COLUMNS.setup_status.is_not_distinct_from(setup_status))
    known = [status for status in ACTION_BY_SETUP_STATUS if status is not None]
    return and_(by_setup, COLUMNS.setup_status.not_in(known)) if action == "none" else false()
