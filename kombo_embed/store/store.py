"""The store on SQLAlchemy Core: each method is one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from sqlalchemy import literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kombo_embed.integration import Completion, Integration
from kombo_embed.models import CacheKey, LinkType
from kombo_embed.ports import Clock, Invalidation
from kombo_embed.store import (
    apply_event,
    invalidations,
    migrations,
    minted_links,
    retention,
    webhook_events,
)
from kombo_embed.store.database import Database, finishing
from kombo_embed.store.inserts import insert_once
from kombo_embed.store.integrations import Records
from kombo_embed.store.outbox import Outbox
from kombo_embed.store.tables import completions, integrations
from kombo_embed.upstream import (
    IntegrationDetails,
    Report,
    ReportedDeletion,
    ReportedIntegration,
    WebhookEvent,
)


class Store:
    """Keeps the records of one Kombo environment in a database.

    Args:
        url: SQLAlchemy's URL of the database, ``sqlite+aiosqlite:///…`` or ``postgresql+asyncpg://…``.
        environment: The Kombo environment whose records these are.
        clock: Where time comes from.
    """

    def __init__(self, url: str, *, environment: str, clock: Clock) -> None:
        self._database = Database(url, monotonic=clock.monotonic)
        self._environment = environment
        self._clock = clock
        self.outbox = Outbox(self._database, environment=environment)

    async def open(self) -> None:
        """Make ready. On SQLite, bring the tables to this version; on PostgreSQL, see that they are there.

        Several processes may do so at once: one migrates, the rest wait.

        Raises:
            ConfigurationError: The SQLite file's folder does not exist, or the tables have to be migrated.
            StoreUnavailable: The database cannot be opened or written.
        """
        self._database.verify_settings()
        self._database.open()
        await self._verify_tables()

    @finishing
    async def _verify_tables(self) -> None:
        if self._database.migrates_at_start:
            async with self._database.migrating() as connection:
                await connection.run_sync(migrations.run)
        else:
            async with self._database.reading() as connection:
                await connection.run_sync(migrations.verify)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._database.aclose()

    @finishing
    async def check(self) -> None:
        """Return if the database can be read, tables included.

        Raises:
            StoreUnavailable: It cannot.
        """
        async with self._database.reading() as connection:
            await connection.execute(select(literal(1)).select_from(integrations).limit(1))

    @finishing
    async def save_minted_link(
        self, key: CacheKey, lifetime_seconds: float, *, link_type: LinkType = "EMBEDDED"
    ) -> None:
        """Remember for whom and for what a link was minted: a completion's category comes from here."""
        async with self._writing() as records:
            await minted_links.save(records, key, lifetime_seconds=lifetime_seconds, link_type=link_type)

    @finishing
    async def has_minted_link(self, origin_id: str) -> bool:
        """Whether a link was minted here for this origin id."""
        async with self._reading() as records:
            return await minted_links.exists_for(records, origin_id)

    @finishing
    async def save_completion(
        self, reported: ReportedIntegration, *, activation_token: str, origin_id: str
    ) -> Completion | None:
        """Record what Kombo says of an integration under an origin id, and which token stood for it."""
        async with self._writing() as records:
            completion = await records.connect(reported, origin_id=origin_id, learnt_by="browser")
            await insert_once(
                records.connection,
                completions,
                environment=self._environment,
                activation_token_sha256=_hash(activation_token),
                integration_id=reported.integration_id,
                completed_at=records.now,
            )
            await invalidations.write(records, origin_id if completion else None)
        return completion

    @finishing
    async def find_completion(self, activation_token: str) -> Integration | None:
        """The integration that this activation token was exchanged for, if it was exchanged here."""
        async with self._reading() as records:
            integration_id = await self._completed(records.connection, _hash(activation_token))
            return None if integration_id is None else await records.find(integration_id)

    @finishing
    async def save_event(self, event: WebhookEvent, report: Report | None) -> str | None:
        """Keep a received event, once, and what it tells; the origin id whose links it ends."""
        async with self._writing() as records:
            ended_for = await apply_event.apply(records, event, report)
            await invalidations.write(records, ended_for)
            return ended_for

    @finishing
    async def save_malformed_event(self, body: bytes, *, reason: str) -> None:
        """Keep a signed body that is no event, once."""
        async with self._writing() as records:
            await webhook_events.keep_malformed(records, body, reason=reason)

    @finishing
    async def save_deleted(
        self, integration: Integration, *, unless_changed_since: datetime | None = None
    ) -> None:
        """Mark an integration as deleted."""
        reported = ReportedIntegration(
            integration_id=integration.integration_id,
            tool=integration.tool,
            origin_id=integration.origin_id,
            organization_name=integration.organization_name,
            email=integration.email,
        )
        async with self._writing() as records:
            await records.delete(ReportedDeletion(reported), unless_changed_since=unless_changed_since)
            await invalidations.write(records, integration.origin_id)

    @finishing
    async def save_details(
        self, details: IntegrationDetails, *, states_unless_changed_since: datetime
    ) -> Integration | None:
        """Take over what Kombo says of an integration now; the record if that changed it."""
        async with self._writing() as records:
            return await records.refresh(details, states_unless_changed_since=states_unless_changed_since)

    @finishing
    async def find_invalidations(self, *, after: int) -> list[Invalidation]:
        """What ended links, with row ids after this one, in their order."""
        async with self._database.reading() as connection:
            return await invalidations.find(connection, self._environment, after=after)

    @finishing
    async def prune_invalidations(self, *, before: datetime) -> None:
        """Forget the drops that were written before this moment."""
        async with self._database.writing() as connection:
            await invalidations.prune(connection, self._environment, before=before)

    @finishing
    async def find_integrations(self, origin_id: str) -> list[Integration]:
        """The origin id's integrations, oldest first."""
        async with self._reading() as records:
            return await records.of(origin_id)

    @finishing
    async def find_integration(self, integration_id: str) -> Integration | None:
        """One integration, by Kombo's id."""
        async with self._reading() as records:
            return await records.find(integration_id)

    @finishing
    async def find_public(self, public_id: str, origin_id: str) -> Integration | None:
        """One integration, by our public id, if it is this origin id's."""
        async with self._reading() as records:
            return await records.find_public(public_id, origin_id)

    @finishing
    async def list_integrations_after(self, integration_id: str, *, limit: int) -> list[Integration]:
        """The next integrations that are not deleted, by Kombo's ids; ``""`` is before the first."""
        async with self._reading() as records:
            return await records.after(integration_id, limit=limit)

    @finishing
    async def close_expired_links(self, *, limit: int) -> int:
        """Look at links that have ended, each once over all processes; how many led to nothing.

        Most looks find nothing: they must not stand in the line of the writers.
        """
        async with self._reading() as records:
            ended = await minted_links.ended(records, limit=limit)
        if not ended:
            return 0
        async with self._writing() as records:
            return await minted_links.settle(records, ended)

    @finishing
    async def prune(self, *, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` rows of each kind that nobody needs any more; how many those were."""
        async with self._reading() as records:
            found = await retention.find(records, before=before, limit=limit)
        if not found:
            return 0
        async with self._writing() as records:
            return await retention.remove(records, found)

    async def _completed(self, connection: AsyncConnection, token_hash: str) -> str | None:
        query = select(completions.c.integration_id).where(
            completions.c.environment == self._environment,
            completions.c.activation_token_sha256 == token_hash,
        )
        return (await connection.execute(query)).scalar_one_or_none()

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Records]:
        async with self._database.reading() as connection:
            yield Records(connection, self._environment, self._now())

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[Records]:
        async with self._database.writing() as connection:
            yield Records(connection, self._environment, self._now())

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.time(), UTC)


async def migrate(url: str) -> str:
    """Bring a database's tables to this version of the package, and tell which one that is.

    Raises:
        ConfigurationError: The SQLite file's folder does not exist, or another Alembic keeps the tables.
        StoreUnavailable: The database cannot be opened or written.
    """
    database = Database(url)
    database.verify_settings()
    try:
        async with database.migrating() as connection:
            return await connection.run_sync(migrations.run)
    finally:
        await database.aclose()


def _hash(activation_token: str) -> str:
    return hashlib.sha256(activation_token.encode()).hexdigest()
