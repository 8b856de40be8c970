"""Reads an origin id's integrations by pages, and by tool. Each query costs the same however many there are.

A page continues after the integration of its cursor, so integrations that are added meanwhile move none. The
cursor is that integration's public id: the number of the row would show how many integrations the host has.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Select, and_, false, or_, select

from kombo_embed.integration import (
    ACTION_BY_SETUP_STATUS,
    ACTION_BY_STATUS,
    IntegrationPage,
    IntegrationQuery,
)
from kombo_embed.store.integrations import PUBLIC_ID, from_row
from kombo_embed.store.tables import integrations
from kombo_embed.store.transaction import Transaction

COLUMNS = integrations.c


async def list_page(
    transaction: Transaction, origin_id: str, query: IntegrationQuery
) -> IntegrationPage | None:
    """Return a page, oldest first; None if the cursor is not one of this origin id's."""
    after = 0
    if query.cursor is not None:
        found = await _row_number(transaction, origin_id, query.cursor)
        if found is None:
            return None
        after = found
    page = _live(transaction, origin_id).where(COLUMNS.id > after).order_by(COLUMNS.id)
    if query.next_actions:
        page = page.where(or_(*(_has_next_action(action) for action in query.next_actions)))
    # One more than the page shows whether there is another one.
    rows = (await transaction.connection.execute(page.limit(query.limit + 1))).mappings()
    found_integrations = [from_row(row) for row in rows]
    listed = found_integrations[: query.limit]
    next_cursor = listed[-1].public_id if len(found_integrations) > query.limit else None
    return IntegrationPage(listed, next_cursor)


async def _row_number(transaction: Transaction, origin_id: str, public_id: str) -> int | None:
    if PUBLIC_ID.fullmatch(public_id) is None:
        return None
    # A deleted integration's, too: it may have been deleted since its page was read.
    query = select(COLUMNS.id).where(
        COLUMNS.public_id == public_id,
        COLUMNS.environment == transaction.environment,
        COLUMNS.origin_id == origin_id,
    )
    number: int | None = (await transaction.connection.execute(query)).scalar_one_or_none()
    return number


def _live(transaction: Transaction, origin_id: str) -> Select[tuple[object, ...]]:
    return select(integrations).where(
        COLUMNS.environment == transaction.environment,
        COLUMNS.origin_id == origin_id,
        COLUMNS.deleted_at.is_(None),
    )


def _has_next_action(action: str) -> ColumnElement[bool]:
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
