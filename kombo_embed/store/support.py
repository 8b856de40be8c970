"""The records for the command line: integrations, undelivered events, dead letters, malformed events."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, or_, select, update

from kombo_embed.database_url import SqliteUrl
from kombo_embed.errors import ConfigurationError, StoreUnavailable
from kombo_embed.ports import Clock
from kombo_embed.store import migrations
from kombo_embed.store.database import Database, parse_url, read_only, run_to_completion
from kombo_embed.store.tables import integrations, malformed_events, outbox
from kombo_embed.store.transaction import Connection

PREFIX_MIN_LENGTH = 6  # of an event's id, which identifies the event if no other id begins with it


@dataclass(frozen=True, slots=True)
class HostEvent:
    """An event for the host, and the state of its delivery.

    ``state`` is ``waiting``, ``in progress``, ``failing``, ``dead letter`` or ``delivered``.
    """

    id: str
    type: str
    state: str
    origin_id: str | None
    integration_id: str | None
    occurred_at: datetime
    attempts: int
    failures: int
    due_at: datetime
    given_up_at: datetime | None
    delivered_at: datetime | None
    done_handlers: tuple[str, ...]
    integration: dict[str, Any] | None = field(repr=False)
    data: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class MalformedEvent:
    """A signed body that could not be parsed."""

    body_sha256: str
    reason: str
    times: int
    first_received_at: datetime
    received_at: datetime
    body: bytes = field(repr=False)


class RecordsReader:
    """Reads the records of one environment and replays events. Creates no database and no tables."""

    def __init__(self, url: str, *, environment: str, clock: Clock) -> None:
        self._url = url
        self._database = Database(url)
        self._environment = environment
        self._clock = clock

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[RecordsReader]:
        """Open an existing database, and close it again.

        Raises `ConfigurationError` if it does not exist, or its tables are not of this version.
        """
        try:
            verify_file(self._url)
            await self._verify_tables()
            yield self
        finally:
            await self._database.aclose()

    @read_only
    async def events(self, *, delivered: bool, limit: int) -> list[HostEvent]:
        """Return the newest events for the host that are not delivered; with ``delivered``, all."""
        query = select(outbox).where(outbox.c.environment == self._environment)
        if not delivered:
            query = query.where(outbox.c.delivered_at.is_(None))
        async with self._database.reading() as connection:
            rows = await connection.execute(query.order_by(outbox.c.id.desc()).limit(limit))
            return [self._event(row) for row in rows.mappings()]

    @read_only
    async def find_event(self, id_or_prefix: str) -> HostEvent | None:
        """Return one event by its id or a prefix of it; None if no event matches, or several do."""
        async with self._database.reading() as connection:
            row = await self._find(connection, id_or_prefix)
            return None if row is None else self._event(row)

    @run_to_completion
    async def replay(self, ids_or_prefixes: Sequence[str]) -> tuple[list[str], list[str]]:
        """Make events due now; return their ids, and the names that match no undelivered event."""
        replayed, unknown = [], []
        async with self._database.writing() as connection:
            for name in ids_or_prefixes:
                row = await self._find(connection, name)
                if row is None or row["delivered_at"] is not None:
                    unknown.append(name)
                else:
                    await connection.execute(self._replay(outbox.c.id == row["id"]))
                    replayed.append(row["event_id"])
        return replayed, unknown

    @run_to_completion
    async def replay_all(self) -> list[str]:
        """Make all dead letters due now; return their ids."""
        is_dead_letter = outbox.c.given_up_at.is_not(None)
        async with self._database.writing() as connection:
            rows = await connection.execute(self._replay(is_dead_letter).returning(outbox.c.event_id))
            return list(rows.scalars())

    @read_only
    async def malformed(self, *, limit: int) -> list[MalformedEvent]:
        """Return the newest signed bodies that could not be parsed."""
        columns = (malformed_events.c[name] for name in MalformedEvent.__dataclass_fields__)
        query = select(*columns).where(malformed_events.c.environment == self._environment)
        newest = query.order_by(malformed_events.c.received_at.desc()).limit(limit)
        async with self._database.reading() as connection:
            return [MalformedEvent(**row) for row in (await connection.execute(newest)).mappings()]

    @read_only
    async def integrations(
        self, columns: Mapping[str, str | None], *, deleted: bool, limit: int, before: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the newest integrations with these values in their columns, as rows; None matches any.

        With ``before``, the id of an integration, return only those that were recorded before it.
        """
        deleted_at = integrations.c.deleted_at
        query = select(integrations).where(
            integrations.c.environment == self._environment,
            deleted_at.is_not(None) if deleted else deleted_at.is_(None),
            *(integrations.c[name] == value for name, value in columns.items() if value is not None),
        )
        if before is not None:
            query = query.where(integrations.c.id < self._by_id(integrations.c.id, before).scalar_subquery())
        async with self._database.reading() as connection:
            rows = await connection.execute(query.order_by(integrations.c.id.desc()).limit(limit))
            return [dict(row) for row in rows.mappings()]

    @read_only
    async def find_integration(self, any_id: str) -> dict[str, Any] | None:
        """Return one integration's row by Kombo's id or the public id, also of a deleted one."""
        async with self._database.reading() as connection:
            row = (await connection.execute(self._by_id(integrations, any_id))).mappings().first()
            return None if row is None else dict(row)

    def _by_id(self, what: Any, any_id: str) -> Select[Any]:  # noqa: ANN401 - a table or a column
        """Return the query for an integration by Kombo's id or the public id."""
        columns = integrations.c
        return select(what).where(
            columns.environment == self._environment,
            or_(columns.integration_id == any_id, columns.public_id == any_id),
        )

    @read_only
    async def _verify_tables(self) -> None:
        async with self._database.reading() as connection:
            await connection.run_sync(migrations.verify)

    async def _find(self, connection: Connection, name: str) -> RowMapping | None:
        if len(name) < PREFIX_MIN_LENGTH:
            return None
        query = select(outbox).where(
            outbox.c.environment == self._environment, outbox.c.event_id.startswith(name, autoescape=True)
        )
        rows = (await connection.execute(query.limit(2))).mappings().all()
        return rows[0] if len(rows) == 1 else None

    def _replay(self, which: ColumnElement[bool]) -> Any:  # noqa: ANN401 - Update has no name for its rows
        ours = outbox.c.environment == self._environment
        values = {"due_at": self._now(), "failures": 0, "attempts": 0, "given_up_at": None}
        return update(outbox).where(ours, outbox.c.delivered_at.is_(None), which).values(**values)

    def _event(self, row: RowMapping) -> HostEvent:
        same = {name: row[name] for name in HostEvent.__dataclass_fields__ if name in row}
        own = {"id": row["event_id"], "state": self._state(row), "done_handlers": tuple(row["done_handlers"])}
        return HostEvent(**(same | own))

    def _state(self, row: RowMapping) -> str:
        if row["delivered_at"] is not None:
            return "delivered"
        if row["given_up_at"] is not None:
            return "dead letter"
        if row["lease_ends_at"] is not None and row["lease_ends_at"] > self._now():
            return "in progress"
        return "failing" if row["failures"] else "waiting"

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.time(), UTC)


def verify_file(url: str) -> None:
    """Raise `ConfigurationError` if the SQLite file does not exist; SQLite would create an empty one."""
    missing = missing_file(url)
    if missing is not None:
        raise ConfigurationError(
            f"There is no database at {missing}. Name the app's with KOMBO_DATABASE_URL, or make this one "
            "with kombo-embed migrate."
        )


def missing_file(url: str) -> Path | None:
    """Return the SQLite file that the URL names if it does not exist."""
    parts = parse_url(url)
    if not isinstance(parts, SqliteUrl):
        return None
    try:
        return None if stat.S_ISREG(parts.file.stat().st_mode) else parts.file
    except (FileNotFoundError, NotADirectoryError):
        return parts.file
    except OSError as error:
        raise StoreUnavailable(
            f"The database cannot be used now ({type(error).__name__}). Check KOMBO_DATABASE_URL, its disk "
            "and its permissions."
        ) from None
