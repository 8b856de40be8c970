"""Inserting what may be there already, in one statement: of two who do it at once, one does."""

from __future__ import annotations

import functools
from typing import Any

from sqlalchemy import Executable, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


async def insert_once(
    connection: AsyncConnection,
    table: Table,
    **values: Any,  # noqa: ANN401 - columns' values
) -> bool:
    """Insert a row; False, changing nothing, if one with its key is there."""
    inserted = await connection.execute(_inserting(connection.dialect.name, table), values)
    return inserted.first() is not None


@functools.cache
def _inserting(dialect_name: str, table: Table) -> Executable:
    # Made once: with the values in it, SQLAlchemy would look through all of it each time.
    dialect = postgresql if dialect_name == "postgresql" else sqlite
    inserting = dialect.insert(table).on_conflict_do_nothing()
    returning: Executable = inserting.returning(*table.primary_key.columns)
    return returning
