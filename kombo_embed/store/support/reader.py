"""The records for the command line: integrations, undelivered events, dead letters, malformed events."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Select, literal_column, or_, select

from kombo_embed.database_url import SqliteUrl
from kombo_embed.deliveries import MISSING_SECONDS
from kombo_embed.errors import ConfigurationError, StoreUnavailable
from kombo_embed.integration import DETAILS_NOT_FOUND_MAX
from kombo_embed.ports import Clock
from kombo_embed.store import audit, handlers, host_events, migrations, replay
from kombo_embed.store.database import Database, parse_url, read_only, run_to_completion
from kombo_embed.store.host_events import HostEvent
from kombo_embed.store.part import StorePart
from kombo_embed.store.queries import has_next_action
from kombo_embed.store.replay import Batch
from kombo_embed.store.support.support import Support
from kombo_embed.store.tables import integrations
from kombo_embed.store.transaction import Transaction

BUSY_PAUSE_SECONDS = 0.1  # while the integrations of all events to replay are being written to
# A literal: the databases do not compare parameters with the condition of the index.
IS_NOT_FOUND = integrations.c.details_not_found >= literal_column(str(DETAILS_NOT_FOUND_MAX))


class RecordsReader(StorePart):
    """Reads the records of one environment and replays events. Creates no database and no tables."""

    def __init__(self, url: str, *, environment: str, clock: Clock) -> None:
        super().__init__(Database(url), environment=environment, clock=clock)
        self._url = url
        self.support = Support(self._database, environment=environment, clock=clock)

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
    async def events(
        self, *, delivered: bool, limit: int, before: str | None = None
    ) -> list[HostEvent] | None:
        """Return the newest events that are not delivered to all handlers; with ``delivered``, all.

        They were written before the event with the id or prefix ``before``; None if there is no such event.
        """
        async with self._reading() as transaction:
            place = None if before is None else await host_events.find(transaction, before)
            if before is not None and place is None:
                return None
            return await host_events.list_events(transaction, delivered=delivered, limit=limit, before=place)

    @read_only
    async def find_event(self, id_or_prefix: str) -> HostEvent | None:
        """Return one event by its id or a prefix of it; None if no event matches, or several do."""
        async with self._reading() as transaction:
            place = await host_events.find(transaction, id_or_prefix)
            return None if place is None else await host_events.read_one(transaction, place)

    async def replay(self, ids_or_prefixes: Sequence[str]) -> tuple[list[str], list[str]]:
        """Make events due now; return their ids, and the names that match no undelivered event."""
        found = {name: await self._replay(name) for name in ids_or_prefixes}
        replayed = [event_id for event_id in found.values() if event_id is not None]
        return replayed, [name for name, event_id in found.items() if event_id is None]

    @run_to_completion
    async def resend(self, id_or_prefix: str, *, handler: str | None) -> tuple[str, list[str]] | None:
        """Deliver an event again to its handlers, or one of them, also where it was delivered.

        Return the event's id and the names of the handlers that get it; None if there is no such event.
        """
        async with self._writing() as transaction:
            place = await host_events.find(transaction, id_or_prefix)
            if place is None:
                return None
            event = await host_events.read_one(transaction, place)
            return event.id, await replay.resend_event(transaction, place, handler=handler)

    async def replay_all(self) -> list[str]:
        """Make all dead letters due now; return their ids."""
        return await self._replay_batches(replay.replay_dead)

    async def replay_handler(self, name: str, *, new_name: str | None = None) -> list[str]:
        """Make a handler's dead letters and parked deliveries due now, for another name if it was renamed."""
        return await self._replay_batches(
            lambda transaction: replay.replay_handler(transaction, name, new_name=new_name)
        )

    @read_only
    async def missing_handlers(self) -> list[tuple[str, str]]:
        """Return the names and types of the handlers that no process has registered for a day."""
        async with self._reading() as transaction:
            return await handlers.find_missing(transaction, (), seconds=MISSING_SECONDS)

    @read_only
    async def integrations(
        self,
        columns: Mapping[str, str | None],
        *,
        deleted: bool,
        not_found: bool,
        limit: int,
        next_actions: Sequence[str] = (),
        before: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return the newest integrations with these values in their columns, as rows; None matches any.

        With ``not_found``, return only those that Kombo does not find; with ``next_actions``, only those with
        one of these; with ``before``, the id of an integration, only those that were recorded before it.
        """
        deleted_at = integrations.c.deleted_at
        query = select(integrations).where(
            integrations.c.environment == self._environment,
            deleted_at.is_not(None) if deleted else deleted_at.is_(None),
            *(integrations.c[name] == value for name, value in columns.items() if value is not None),
        )
        if not_found:
            query = query.where(IS_NOT_FOUND)
        if next_actions:
            query = query.where(or_(*(has_next_action(action) for action in next_actions)))
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
    async def audit(
        self, *, origin_id: str | None, limit: int, before: int | None
    ) -> Sequence[audit.AuditEntry]:
        """Return the newest entries of the audit trail; with ``before``, those with smaller numbers."""
        async with self._database.reading() as connection:
            transaction = Transaction(connection, self._environment, self._now())
            return await audit.find(transaction, origin_id=origin_id, limit=limit, before=before)

    @read_only
    async def _verify_tables(self) -> None:
        async with self._database.reading() as connection:
            await connection.run_sync(migrations.verify)

    @run_to_completion
    async def _replay(self, name: str) -> str | None:
        async with self._writing() as transaction:
            place = await host_events.find(transaction, name)
            if place is None or not await replay.replay_event(transaction, place):
                return None
            return (await host_events.read_one(transaction, place)).id

    async def _replay_batches(self, run: Callable[[Transaction], Awaitable[Batch]]) -> list[str]:
        event_ids: dict[str, None] = {}
        while True:
            batch = await self._run(run)
            event_ids |= dict.fromkeys(batch.event_ids)
            if not batch.has_more:
                return list(event_ids)
            if not batch.event_ids:
                await asyncio.sleep(BUSY_PAUSE_SECONDS)

    @run_to_completion
    async def _run(self, run: Callable[[Transaction], Awaitable[Batch]]) -> Batch:
        async with self._writing() as transaction:
            return await run(transaction)


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
