"""Implements `kombo_embed.core.records.RecordStore` on SQLAlchemy Core, one transaction per method."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypeVar

from sqlalchemy import false, literal, select

from kombo_embed.errors import ConfigurationError, StoreUnavailable
from kombo_embed.integration import Completion, Integration, IntegrationPage, IntegrationQuery
from kombo_embed.models import CacheKey, LinkType
from kombo_embed.ports import Clock, ClosedLinks, Invalidation, utc_now
from kombo_embed.store import (
    apply_event,
    erasure_marks,
    integrations,
    invalidations,
    lists,
    migrations,
    minted_links,
    retention,
    tables,
    webhook_events,
)
from kombo_embed.store.database import BUSY_SECONDS, Database, read_only, run_to_completion
from kombo_embed.store.deliveries import Outbox
from kombo_embed.store.details import DetailsQueue
from kombo_embed.store.erasures import Erasures
from kombo_embed.store.invalidations import InvalidationLog
from kombo_embed.store.transaction import Transaction
from kombo_embed.upstream import IntegrationDetails, Report, ReportedIntegration, WebhookEvent

Result = TypeVar("Result")
READ_ONE = select(literal(1)).select_from(tables.integrations).limit(1)
# PostgreSQL refuses it where it refuses writes, and SQLite knows no FOR UPDATE.
WRITE_NOTHING = select(literal(1)).select_from(tables.integrations).where(false()).with_for_update()


class Store:
    """The records of one Kombo environment in a database. All methods raise `StoreUnavailable`."""

    def __init__(
        self, url: str, *, environment: str, clock: Clock, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        self._database = Database(url, busy_seconds=busy_seconds, monotonic=clock.monotonic)
        self._environment = environment
        self._clock = clock
        self._apply_invalidation: Callable[[Invalidation], Awaitable[None]] = _ignore
        self.outbox = Outbox(self._database, environment=environment)
        self.invalidations = InvalidationLog(self._database, environment=environment)
        self.details = DetailsQueue(self._database, environment=environment, clock=clock)
        self.erasures = Erasures(self._database, environment=environment, clock=clock, change=self._change)
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

    @run_to_completion
    async def save_link_handed_out(self, row_id: int) -> None:
        """Record that a browser got a link that was only prefetched before."""
        async with self._writing() as transaction:
            await minted_links.watch_from_now(transaction, row_id)

    @read_only
    async def has_minted_link(self, origin_id: str) -> bool:
        """Return whether a link was ever minted here for this origin id."""
        async with self._reading() as transaction:
            return await minted_links.exists_for(transaction, origin_id)

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
            if not await _admit_completion(transaction, reported, origin_id, by_owner=by_owner):
                return None
            completion = await integrations.save(transaction, reported, origin_id=origin_id, source="browser")
            is_first = await transaction.insert_once(
                tables.completions,
                environment=self._environment,
                activation_token_sha256=_hash(activation_token),
                integration_id=reported.integration_id,
                completed_at=transaction.now,
            )
            if completion is not None and is_first:
                transaction.invalidate(origin_id)
            return completion

        return await self._change(save, actor=actor)

    @read_only
    async def find_completion(self, activation_token: str) -> Integration | None:
        """Return the integration that this activation token was exchanged for earlier."""
        columns = tables.completions.c
        query = select(columns.integration_id).where(
            columns.environment == self._environment,
            columns.activation_token_sha256 == _hash(activation_token),
        )
        async with self._reading() as transaction:
            integration_id = (await transaction.connection.execute(query)).scalar_one_or_none()
            return None if integration_id is None else await integrations.find(transaction, integration_id)

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

    @run_to_completion
    async def save_malformed_event(self, body: bytes, *, reason: str) -> None:
        """Record a signed body that cannot be parsed, once per distinct body."""
        async with self._writing() as transaction:
            await webhook_events.save_malformed(transaction, body, reason=reason)

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

    @read_only
    async def find_integrations(self, origin_id: str) -> list[Integration]:
        """Return the origin id's integrations, oldest first."""
        async with self._reading() as transaction:
            return await integrations.list_of(transaction, origin_id)

    @read_only
    async def list_integrations(self, origin_id: str, query: IntegrationQuery) -> IntegrationPage | None:
        """Return a page of the origin id's integrations; None if no page of theirs had the cursor."""
        async with self._reading() as transaction:
            return await lists.list_page(transaction, origin_id, query)

    @read_only
    async def find_connected(self, origin_id: str, *, tool: str, category: str) -> Integration | None:
        """Return the integration that connects a tool already, one to reconnect first, else the oldest."""
        async with self._reading() as transaction:
            return await lists.find_connected(transaction, origin_id, tool=tool, category=category)

    @read_only
    async def connected_tools(self, origin_id: str, category: str) -> set[str]:
        """Return the tools that an origin id has connected in a category, or in an unknown one."""
        async with self._reading() as transaction:
            return await lists.connected_tools(transaction, origin_id, category)

    @read_only
    async def find_integration(self, integration_id: str) -> Integration | None:
        """Return one integration by Kombo's id."""
        async with self._reading() as transaction:
            return await integrations.find(transaction, integration_id)

    @read_only
    async def find_public(self, public_id: str, origin_id: str) -> Integration | None:
        """Return one integration by its public id if it belongs to this origin id."""
        async with self._reading() as transaction:
            return await integrations.find_public(transaction, public_id, origin_id)

    @read_only
    async def list_integrations_after(self, integration_id: str, *, limit: int) -> list[Integration]:
        """Return the next page of all integrations, ordered by Kombo's id; ``""`` starts at the first."""
        async with self._reading() as transaction:
            return await integrations.list_after(transaction, integration_id, limit=limit)

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
            for invalidation in done[1]:
                await self._apply_invalidation(invalidation)

        result, _ = await self._database.run_to_completion(run, then=apply)
        return result

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Transaction]:
        async with self._database.reading() as connection:
            yield Transaction(connection, self._environment, self._now())

    @asynccontextmanager
    async def _writing(self, actor: str | None = None) -> AsyncIterator[Transaction]:
        async with self._database.writing() as connection:
            yield Transaction(connection, self._environment, self._now(), actor)

    def _now(self) -> datetime:
        return utc_now(self._clock)


async def migrate(url: str) -> str:
    """Migrate a database's tables to this package's version; return the version.

    Raises `ConfigurationError` if the SQLite file's folder does not exist, or if a host's own Alembic manages
    the tables and they are older.
    """
    database = Database(url)
    database.backend.verify_settings()
    try:
        async with database.migrating() as connection:
            return await connection.run_sync(migrations.run)
    finally:
        await database.aclose()


async def _ignore(invalidation: Invalidation) -> None:
    """Do nothing: without a cache in this process, nothing has to be invalidated."""


def _hash(activation_token: str) -> str:
    return hashlib.sha256(activation_token.encode()).hexdigest()


async def _admit_completion(
    transaction: Transaction, reported: ReportedIntegration, origin_id: str, *, by_owner: bool
) -> bool:
    """Lift the marks of an erasure if the customer's own end user has connected again."""
    if by_owner:
        await erasure_marks.lift(transaction, reported.integration_id, origin_id=origin_id)
        return True
    return await erasure_marks.admits(transaction, reported.integration_id, origin_id=origin_id)
