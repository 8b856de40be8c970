"""Integrations that have to be read from Kombo; implements `kombo_embed.core.records.DetailsQueue`."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, or_, select, update

from kombo_embed.integration import Integration
from kombo_embed.ports import Clock, DetailsJob, DueChecks, DueDetails
from kombo_embed.store import details_due, queries
from kombo_embed.store.database import Database, read_only, run_to_completion
from kombo_embed.store.part import StorePart
from kombo_embed.store.tables import integrations as table
from kombo_embed.store.tables import leases

COLUMNS = table.c


class DetailsQueue(StorePart):
    """The queue of one environment. On PostgreSQL, the server's time decides what is due: clocks may differ.

    A process that dies while it reads an integration loses its lease, and another one reads it.
    """

    def __init__(self, database: Database, *, environment: str, clock: Clock) -> None:
        super().__init__(database, environment=environment, clock=clock)
        self._owner = secrets.token_hex(8)

    @run_to_completion
    async def take(self, *, limit: int, lease_seconds: float) -> DueDetails:
        """Lease up to ``limit`` integrations whose details are due."""
        now = self._shared_time(0)
        async with self._database.reading() as connection:
            look = self._due(COLUMNS.details_due_at, now.label("now")).limit(limit + 1)
            rows = await connection.execute(look)
            waits = [(row.details_due_at - row.now).total_seconds() for row in rows]
        due = sum(seconds <= 0 for seconds in waits[:limit])
        next_in_seconds = max(0.0, waits[due]) if due < len(waits) else None
        if not due:
            return DueDetails([], next_in_seconds)
        # On PostgreSQL, those that another process takes at this moment are skipped.
        free = self._due(COLUMNS.id).where(COLUMNS.details_due_at <= now).limit(due)
        lease = update(table).where(COLUMNS.id.in_(free.with_for_update(skip_locked=True)))
        values = {
            "details_due_at": self._shared_time(lease_seconds),
            "details_attempts": COLUMNS.details_attempts + 1,
        }
        async with self._database.writing() as connection:
            taken = await connection.execute(lease.values(values).returning(table))
            return DueDetails([_job(row) for row in taken.mappings()], next_in_seconds)

    @run_to_completion
    async def postpone(self, job: DetailsJob, *, seconds: float | None, not_found: int) -> None:
        """Make the details due again after this time, if the lease still is this process's."""
        due_at = None if seconds is None else self._shared_time(seconds)
        values: dict[str, Any] = {"details_due_at": due_at, "details_not_found": not_found}
        if seconds is None:
            values["checked_at"] = self._now()
        # Every lease has an end of its own, so this is the one of the job.
        is_leased = self._is(job.integration), COLUMNS.details_due_at == job.lease_ends_at
        async with self._database.writing() as connection:
            await connection.execute(update(table).where(*is_leased).values(values))

    @read_only
    async def find_checks(self, *, before: datetime, limit: int) -> DueChecks:
        """Return integrations that were last read from Kombo at this time or before, or never."""
        is_idle = COLUMNS.deleted_at.is_(None), COLUMNS.details_due_at.is_(None)
        idle = select(table).where(COLUMNS.environment == self._environment, *is_idle)
        never = idle.where(COLUMNS.checked_at.is_(None)).limit(limit)
        oldest = idle.where(COLUMNS.checked_at.is_not(None)).order_by(COLUMNS.checked_at).limit(limit)
        async with self._database.reading() as connection:
            found = list((await connection.execute(never)).mappings())
            if len(found) < limit:
                found += (await connection.execute(oldest)).mappings()
        due = [row for row in found if row["checked_at"] is None or row["checked_at"] <= before]
        later = [row["checked_at"] for row in found[len(due) :]]
        return DueChecks([queries.from_row(row) for row in due[:limit]], min(later, default=None))

    @run_to_completion
    async def save_checked(self, integration: Integration) -> None:
        """Record that Kombo was asked for an integration now."""
        async with self._database.writing() as connection:
            checked = update(table).where(self._is(integration))
            await connection.execute(checked.values(checked_at=self._now()))

    @run_to_completion
    async def take_lease(self, name: str, *, seconds: float) -> bool:
        """Take a lease that no other process holds, or extend the own one."""
        is_free = or_(leases.c.owner == self._owner, leases.c.ends_at <= self._shared_time(0))
        is_lease = leases.c.environment == self._environment, leases.c.name == name
        values = {"owner": self._owner, "ends_at": self._shared_time(seconds)}
        async with self._writing() as transaction:
            await transaction.insert_once(
                leases,
                environment=self._environment,
                name=name,
                owner=self._owner,
                ends_at=details_due.AT_ONCE,
            )
            taken = await transaction.connection.execute(
                update(leases).where(*is_lease, is_free).values(values)
            )
            return taken.rowcount > 0

    def _due(self, *columns: Any) -> Select[Any]:  # noqa: ANN401 - as SQLAlchemy's
        is_due = COLUMNS.environment == self._environment, COLUMNS.details_due_at.is_not(None)
        return select(*columns).where(*is_due).order_by(COLUMNS.details_due_at)

    def _is(self, integration: Integration) -> ColumnElement[bool]:
        ours = COLUMNS.environment == self._environment
        return ours & (COLUMNS.integration_id == integration.integration_id)

    def _shared_time(self, seconds: float) -> ColumnElement[datetime]:
        return self._database.backend.time_after(self._now(), seconds=seconds)


def _job(row: RowMapping) -> DetailsJob:
    return DetailsJob(
        integration=queries.from_row(row),
        attempts=row["details_attempts"],
        not_found=row["details_not_found"],
        lease_ends_at=row["details_due_at"],
    )
