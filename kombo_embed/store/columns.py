"""The columns' types, and the metadata that holds all tables."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
metadata = sa.MetaData()


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An aware datetime in UTC, also on SQLite, which does not store the time zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Convert to UTC."""
        del dialect
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Convert to UTC, which a time without a zone is in."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Words(sa.TypeDecorator[str]):
    """A text from Kombo, the host or an end user. NUL and lone surrogates, not storable, become U+FFFD."""

    impl: type[sa.String] = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Replace what PostgreSQL cannot store, and what UTF-8 cannot encode."""
        del dialect
        if value is None or value.isascii():
            return value and value.replace("\x00", "\ufffd")
        return UNSTORABLE.sub("\ufffd", value)


class ShortWords(Words):
    """A text of an expected length."""

    impl = sa.String
    cache_ok = True


def short(length: int) -> TypeEngine[str]:
    """Return the type of a text of an expected length."""
    # SQLite ignores the length; PostgreSQL would reject the row, and with it what Kombo reported.
    return ShortWords(length).with_variant(Words(), "postgresql")


def number() -> TypeEngine[int]:
    """Return the type of row ids."""
    # SQLite assigns row ids only if the type is exactly INTEGER.
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def only_where(condition: str) -> dict[str, Any]:
    """Return the options of a partial index."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
