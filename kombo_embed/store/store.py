"""Implements `kombo_embed.core.records.RecordStore` on SQLAlchemy Core, one transaction per method."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import datetime
from typing import TypeVar

from sqlalchemy import false, literal, select

from kombo_embed.errors import ConfigurationError, StoreUnavailable
from kombo_embed.integration import Completion, Integration
from kombo_embed.models import CacheKey, LinkType
from kombo_embed.ports import Clock, ClosedLinks, Invalidation
from kombo_embed.store import (
    apply_event,
    completions,
    erasure_marks,
    integrations,
    invalidations,
    migrations,
    minted_links,
    queries,
    retention,
    tables,
    webhook_events,
)
from kombo_embed.store.database import BUSY_SECONDS, Database, read_only, run_to_completion
from kombo_embed.store.deliveries import Outbox
from kombo_embed.store.details import DetailsQueue
from kombo_embed.store.erasures import Erasures
from kombo_embed.store.figures import FiguresReader
from kombo_embed.store.imports import Imports
from kombo_embed.store.invalidations import InvalidationLog
from kombo_embed.store.part import StorePart, reading, writing
from kombo_embed.store.support.support import Support
from kombo_embed.store.transaction import Transaction
from kombo_embed.upstream import IntegrationDetails, Report, ReportedIntegration, WebhookEvent

Result = TypeVar("Result")
READ_ONE = select(literal(1)).select_from(tables.integrations).limit(1)
# PostgreSQL refuses it where it refuses writes, and SQLite knows no FOR UPDATE.
WRITE_NOTHING = select(literal(1)).select_from(tables.integrations).where(false()).with_for_update()


class Store(StorePart):
    """The records of one Kombo environment in a database. All methods raise `StoreUnavailable`."""

    save_link_handed_out = writing(minted_links.watch_from_now)
    has_minted_link = reading(minted_links.exists_for)
    find_completion = reading(completions.find)
    save_malformed_event = writing(webhook_events.save_malformed)
    find_integrations = reading(queries.list_of)
    list_integrations = reading(queries.list_page)
    list_integrations_after = reading(queries.list_after)
    find_connected = reading(queries.find_connected)
    connected_tools = reading(queries.connected_tools)
    find_integration = reading(queries.find)
    find_public = reading(queries.find_public)

    def __init__(
        self, url: str, *, environment: str, clock: Clock, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        database = Database(url, busy_seconds=busy_seconds, monotonic=clock.monotonic)
        super().__init__(database, environment=environment, clock=clock)
        self._apply_invalidation: Callable[[Invalidation], Awaitable[None]] | None = None
        self.outbox = Outbox(self._database, environment=environment)
        self.invalidations = InvalidationLog(self._database, environment=environment)
        self.details = DetailsQueue(self._database, environment=environment, clock=clock)
        self.support = Support(self._database, environment=environment, clock=clock)
        self.figures = FiguresReader(self._database, environment=environment, clock=clock)
        self.erasures = Erasures(self._database, environment=environment, clock=clock, change=self._change)
        self.imports = Imports(self._database, environment=environment, clock=clock, change=self._change)
        self.name = self._database.name

    def apply_invalidations_by(self, apply: Callable[[Invalidation], Awaitable[None]]) -> None:
        """Call this for each invalidation that a transaction has written and committed. It must not raise."""
        self._apply_invalidation = apply

    async def open(self) -> None:
        """Migrate the tables on SQLite; verify them on PostgreSQL.

        Several processes may do so at once: one migrates, the others wait. Raises `ConfigurationError` if the
        SQLite file's folder does not exist, the tables have to be migrated, or PostgreSQL lacks a grant.
        """
        self._database.backend.verify_settings()
        self._database.open()
        await self._verify_tables()

    @run_to_completion
    async def _verify_tables(self) -> None:
        if self._database.backend.migrates_on_open:
            async with self._database.migrating() as connection:
                await connection.run_sync(migrations.run)
        else:
            async with self._database.reading() as connection:
                if missing := await self._database.backend.find_missing_privileges(connection):
                    raise ConfigurationError(f"kombo-embed cannot start. {missing}")
                await connection.run_sync(migrations.verify)
                await connection.execute(WRITE_NOTHING)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._database.aclose()

    @read_only
    async def check(self) -> datetime | None:
        """Verify that the database can be read, tables included, and on PostgreSQL that we may write.

        Return when the last webhook event was received, by any process; None if none is kept.
        """
        async with self._database.reading() as connection:
            if missing := await self._database.backend.find_missing_privileges(connection):
                raise StoreUnavailable(missing)
            await connection.execute(READ_ONE)
            await connection.execute(WRITE_NOTHING)
            last = webhook_events.LAST_RECEIVED, {"environment": self._environment}
            return (await connection.execute(*last)).scalar_one_or_none()

    @run_to_completion
    async def save_minted_link(
        self,
        key: CacheKey,
        lifetime_seconds: float,
        *,
        link_type: LinkType = "EMBEDDED",
        watch: bool = True,
        actor: str | None = None,
    ) -> int:
        """Record that a link was minted, for whom and for what, without the link; return the row's id."""
        async with self._writing(actor) as transaction:
            return await minted_links.save(
                transaction, key, lifetime_seconds=lifetime_seconds, link_type=link_type, watch=watch
            )

    async def save_completion(
        self,
        reported: ReportedIntegration,
        *,
        activation_token: str,
        origin_id: str,
        actor: str | None = None,
        by_owner: bool = True,
    ) -> Completion | None:
        """Record an integration under this origin id, once; None if it was deleted or erased before."""

        async def save(transaction: Transaction) -> Completion | None:
            about = {"activation_token": activation_token, "origin_id": origin_id}
            return await completions.save(transaction, reported, **about, by_owner=by_owner)

        return await self._change(save, actor=actor)

    async def save_event(
        self,
        event: WebhookEvent,
        report: Report | None,
        *,
        created_at: datetime | None = None,
        unless_erased: bool = False,
    ) -> bool:
        """Record an event and what it reports, once; see `apply_event.apply`."""
        return await self._change(
            lambda transaction: apply_event.apply(
                transaction, event, report, created_at=created_at, unless_erased=unless_erased
            )
        )

    async def save_deleted(
        self,
        integration: Integration,
        *,
        unless_changed_since: datetime | None = None,
        actor: str | None = None,
    ) -> None:
        """Mark an integration as deleted, for good."""
        unless = unless_changed_since

        async def save(transaction: Transaction) -> None:
            about = integration.integration_id
            if await erasure_marks.admits(transaction, about, origin_id=integration.origin_id):
                await integrations.save_deleted(transaction, integration, unless_changed_since=unless)

        await self._change(save, actor=actor)

    async def save_details(
        self, details: IntegrationDetails, *, states_unless_changed_since: datetime
    ) -> Integration | None:
        """Merge Kombo's current details; return the record if that changed it."""
        unless = states_unless_changed_since
        return await self._change(
            lambda transaction: integrations.save_details(
                transaction, details, states_unless_changed_since=unless
            )
        )

    @run_to_completion
    async def close_expired_links(self, *, limit: int) -> ClosedLinks:
        """Close up to ``limit`` expired links; write `flow.abandoned` for those without a completion."""
        async with self._reading() as transaction:
            watched = await minted_links.find_watched(transaction, limit=limit + 1)
        expired = [row_id for row_id, expires_at in watched[:limit] if expires_at <= transaction.now]
        next_expires_at = watched[len(expired)][1] if len(expired) < len(watched) else None
        if not expired:
            return ClosedLinks(next_expires_at=next_expires_at)
        async with self._writing() as transaction:
            abandoned = await minted_links.close(transaction, expired)
        return ClosedLinks(len(expired), abandoned, next_expires_at)

    @run_to_completion
    async def prune(self, *, before: datetime, audit_before: datetime, limit: int) -> int:
        """Delete up to ``limit`` old rows of each kind; return how many were deleted."""
        async with self._reading() as transaction:
            old = await retention.find_old(transaction, before=before, audit_before=audit_before, limit=limit)
        if not old:
            return 0
        async with self._writing() as transaction:
            return await retention.delete_old(transaction, old)

    async def _change(
        self, work: Callable[[Transaction], Awaitable[Result]], *, actor: str | None = None
    ) -> Result:
        """Do work in a transaction that writes; after its commit, apply what it invalidates."""

        async def run() -> tuple[Result, list[Invalidation]]:
            async with self._writing(actor) as transaction:
                result = await work(transaction)
                return result, await invalidations.write(transaction)

        async def apply(done: tuple[Result, list[Invalidation]]) -> None:
            if self._apply_invalidation is not None:  # there is a cache in this process
                for invalidation in done[1]:
                    await self._apply_invalidation(invalidation)

        result, _ = await self._database.run_to_completion(run, then=apply)
        return result


async def migrate(url: str) -> str:
    """Migrate a database's tables to this package's version; return the version.

    Raises `ConfigurationError` if the SQLite file's folder does not exist, or if a host's own Alembic manages
    the tables and they are older.
    """
    database = Database(url)
    database.backend.verify_settings()
    async with aclosing(database), database.migrating() as connection:
        return await connection.run_sync(migrations.run)
