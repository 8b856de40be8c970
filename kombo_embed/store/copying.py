"""Copies all records to another database in one transaction: the target gets everything or nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from sqlalchemy import Row, Select, Table, cast, delete, func, insert, literal, select, tuple_
from sqlalchemy.dialects.postgresql import REGCLASS

from kombo_embed import database_url
from kombo_embed.database_url import PostgresUrl, SqliteUrl
from kombo_embed.errors import ConfigurationError, StoreUnavailable
from kombo_embed.store import migrations
from kombo_embed.store.database import Database
from kombo_embed.store.tables import metadata
from kombo_embed.store.transaction import Connection

ROWS_PER_BATCH = 500  # read into memory at a time; a row may hold the body of an event
# What other transactions commit during the copy is not in it. SQLite's transactions read so by default.
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

# SQLite keeps the last numbers of tables with AUTOINCREMENT in it: sqlite.org/autoinc.html
SQLITE_SEQUENCE = sqlalchemy.table("sqlite_sequence", sqlalchemy.column("name"), sqlalchemy.column("seq"))

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class CopiedRecords:
    """What was copied: rows per table, and the version of the tables in both databases."""

    version: str
    rows: dict[str, int]


async def copy(source_url: str, target_url: str, *, on_progress: OnProgress | None = None) -> CopiedRecords:
    """Copy the records of all environments to a database that has none, which is migrated if necessary.

    ``on_progress`` is called with a table, how many of its rows are copied, and how many it has. Raises
    `ConfigurationError` if one of the databases cannot be used for this, and `StoreUnavailable`.
    """
    source_parts, target_parts = parse(source_url, "source"), parse(target_url, "target")
    _verify_files(source_parts, target_parts)
    try:
        async with aclosing(Database(source_url)) as source, source.reading() as read:
            if isinstance(source_parts, PostgresUrl):
                await read.exec_driver_sql(SNAPSHOT)
            await read.run_sync(_verify_source)
            # Opened last: SQLite creates the target's file.
            async with aclosing(Database(target_url)) as target, target.migrating() as write:
                return await _copy(read, write, on_progress or _ignore_progress)
    except StoreUnavailable as error:
        raise StoreUnavailable(f"Nothing was copied. {error}") from None


def parse(url: str, role: str) -> SqliteUrl | PostgresUrl:
    """Return the parts of a database URL; raise `ConfigurationError`, which does not quote it."""
    try:
        return database_url.parse(url)
    except ValueError as error:
        raise ConfigurationError(f"Nothing was copied: the URL of the {role} {error}") from None


def _verify_files(source: SqliteUrl | PostgresUrl, target: SqliteUrl | PostgresUrl) -> None:
    if isinstance(source, SqliteUrl) and not source.file.is_file():
        raise ConfigurationError(f"Nothing was copied: there is no database at {source.file}.")
    if isinstance(target, SqliteUrl) and not target.file.parent.is_dir():
        raise ConfigurationError(f"Nothing was copied: the folder {target.file.parent} does not exist.")


def _verify_source(connection: sqlalchemy.Connection) -> None:
    try:
        migrations.verify(connection)
    except ConfigurationError as error:
        raise ConfigurationError(f"Nothing was copied. Of the source: {error}") from None
    if migrations.is_newer(connection):
        raise ConfigurationError(
            "Nothing was copied: a newer version of kombo-embed has migrated the source. Use that version."
        )


async def _copy(source: Connection, target: Connection, on_progress: OnProgress) -> CopiedRecords:
    version = await target.run_sync(migrations.run)
    for table in metadata.sorted_tables:
        if (await target.execute(select(literal(1)).select_from(table).limit(1))).first() is not None:
            raise ConfigurationError(
                f"Nothing was copied: the target is not empty, its table {table.name} has rows."
            )
    rows = {}
    for table in metadata.sorted_tables:
        rows[table.name] = await _copy_table(table, source, target, on_progress)
        await _advance_numbers(table, source, target)
    return CopiedRecords(version, rows)


async def _copy_table(table: Table, source: Connection, target: Connection, on_progress: OnProgress) -> int:
    total = await _count(source, table)
    last: Row[Any] | None = None
    copied = 0
    while page := list(await source.execute(_page(table, last))):
        await target.execute(insert(table), [dict(row._mapping) for row in page])  # noqa: SLF001 - SQLAlchemy's public name
        last = page[-1]
        copied += len(page)
        on_progress(table.name, copied, total)
    arrived = await _count(target, table)
    if not total == copied == arrived:
        raise ConfigurationError(
            f"Nothing was copied: of {total} rows of {table.name}, {copied} were read and {arrived} arrived. "
            "Is another process writing to the target?"
        )
    return copied


def _page(table: Table, last: Row[Any] | None) -> Select[Any]:
    """Return the query for the rows that follow this one, in the order of the primary key."""
    key = list(table.primary_key.columns)
    query = select(table).order_by(*key).limit(ROWS_PER_BATCH)
    if last is None:
        return query
    values = [literal(last._mapping[column.name], column.type) for column in key]  # noqa: SLF001 - as above
    return query.where(tuple_(*key) > tuple_(*values))


async def _count(connection: Connection, table: Table) -> int:
    counted = await connection.execute(select(func.count()).select_from(table))
    number: int = counted.scalar_one()
    return number


async def _advance_numbers(table: Table, source: Connection, target: Connection) -> None:
    """Number later rows from where the source stopped: processes remember the numbers of deleted rows."""
    column = table.autoincrement_column
    if column is None:
        return
    greatest = (await source.execute(select(func.coalesce(func.max(column), 0)))).scalar_one()
    last = max(greatest, await _last_number(table, column.name, source))
    if last == 0:
        return
    if target.dialect.name == "postgresql":
        sequence = func.pg_get_serial_sequence(table.name, column.name)
        await target.execute(select(func.setval(sequence, last)))
    elif table.dialect_options["sqlite"]["autoincrement"]:
        await target.execute(delete(SQLITE_SEQUENCE).where(SQLITE_SEQUENCE.c.name == table.name))
        await target.execute(insert(SQLITE_SEQUENCE), {"name": table.name, "seq": last})


async def _last_number(table: Table, column: str, source: Connection) -> int:
    """Return the last number that the database gave to a row, as far as it keeps that."""
    if source.dialect.name == "postgresql":
        sequence = cast(func.pg_get_serial_sequence(table.name, column), REGCLASS)
        query: Select[Any] = select(func.pg_sequence_last_value(sequence))
    elif table.dialect_options["sqlite"]["autoincrement"]:
        query = select(SQLITE_SEQUENCE.c.seq).where(SQLITE_SEQUENCE.c.name == table.name)
    else:
        return 0
    number: int | None = (await source.execute(query)).scalar_one_or_none()
    return number or 0


def _ignore_progress(table: str, copied: int, total: int) -> None:
    del table, copied, total
