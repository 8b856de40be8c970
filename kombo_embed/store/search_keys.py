"""The keys by which people look customers up: lower-case beginnings of ids, names and addresses, indexed.

An index of whole values would reject long ones on PostgreSQL, and with them what Kombo reported.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

KEY_LENGTH = 64  # characters
LAST = "\U0010ffff"  # after every other character


def search_key(column: sa.Column[Any]) -> sa.Function[str]:
    """Return the expression that the index of a column has."""
    # Literals: PostgreSQL does not compare parameters with the expression of an index.
    return sa.func.substr(sa.func.lower(column), sa.literal_column("1"), sa.literal_column(str(KEY_LENGTH)))


def index(table: sa.Table, name: str) -> None:
    """Add the index to look a column up; its entries have the origin ids, too."""
    key = search_key(table.c[name]).label("search_key")
    # The order of bytes, whatever the collation of the database. The key is first: with more indexes that
    # begin with the environment, which most rows share, SQLite reads the table for other queries.
    sa.Index(
        f"ix_{table.name}_{name}_key",
        key,
        table.c.environment,
        table.c.origin_id,
        postgresql_ops={"search_key": "text_pattern_ops"},
    )


def begins_with(column: sa.Column[Any], term: str, *, dialect_name: str) -> sa.ColumnElement[bool]:
    """Return the condition that a column begins with a term, in any case."""
    key = search_key(column)
    # SQLite's lower() knows ASCII only, and so does PostgreSQL's, depending on the locale of the database.
    lowers = {_ascii_lower(term)[:KEY_LENGTH], term.lower()[:KEY_LENGTH]}
    if dialect_name == "sqlite":
        return sa.or_(*(sa.and_(key >= lower, key < lower + LAST) for lower in lowers))
    ranges = (sa.and_(key.op("~>=~")(lower), key.op("~<~")(lower + LAST)) for lower in lowers)
    return sa.or_(*ranges)


def _ascii_lower(term: str) -> str:
    return "".join(character.lower() if character.isascii() else character for character in term)
