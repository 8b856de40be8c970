"""Inserting what may be there already, in one statement: of two who do it at once, one does."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


async def insert_once(
    connection: AsyncConnection,
    table: Table,
    **values: Any,  # noqa: ANN401 - columns' values
) -> bool:
    """Insert a row; False, changing nothing, if one with its key is there."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    inserting = dialect.insert(table).values(**values).on_conflict_do_nothing()
    inserted = await connection.execute(inserting.returning(*table.primary_key.columns))
    return inserted.first() is not None
