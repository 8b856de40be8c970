"""Reads an origin id's integrations by pages, and by tool. Each query costs the same however many there are.

A page continues after the integration of its cursor, so integrations that are added meanwhile move none. The
cursor is that integration's public id: the number of the row would show how many integrations the host has.
The order is that of their connection. Ordered by the number alone, PostgreSQL would expect to find them early
in the index of the numbers, which has those of all origin ids.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
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
from kombo_embed.store.integrations import OLDEST_FIRST, PUBLIC_ID, from_row
from kombo_embed.store.tables import integrations
from kombo_embed.store.transaction import Transaction

COLUMNS = integrations.c


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
