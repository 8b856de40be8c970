"""The store on SQLAlchemy Core: each method is one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import insert, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kombo_embed.models import Completion, Integration, LinkDrop, LinkKey, LinkRequest, SetupRequest
from kombo_embed.ports import Clock
from kombo_embed.reports import (
    FailedFlow,
    IntegrationDetails,
    Report,
    ReportedDeletion,
    ReportedIntegration,
    ReportedState,
    WebhookEvent,
)
from kombo_embed.store import drops, inbox, migrations
from kombo_embed.store.database import Database, finishing
from kombo_embed.store.outbox import Outbox, write_event
from kombo_embed.store.records import Records
from kombo_embed.store.tables import completions, integrations, minted_links


class SqlStore:
    """Keeps the records of one Kombo environment in a database.

    Args:
        url: SQLAlchemy's URL of the database, ``sqlite+aiosqlite:///…``.
        environment: The Kombo environment whose records these are.
        clock: Where time comes from.
    """

    def __init__(self, url: str, *, environment: str, clock: Clock) -> None:
        self._database = Database(url)
        self._environment = environment
        self._clock = clock
        self.outbox = Outbox(self._database, environment=environment)

    @finishing
    async def open(self) -> None:
        """Bring the tables to this version. Several processes may do so at once: one does, the rest wait.

        Raises:
            ConfigurationError: The database's folder does not exist.
            StoreUnavailable: The database cannot be opened or written.
        """
        self._database.verify_folder()
        async with self._database.writing() as connection:
            await connection.run_sync(migrations.run)

    async def close(self) -> None:
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
    async def save_link_minted(self, key: LinkKey, expires_in: float) -> None:
        """Remember for whom and for what a link was minted: a completion's category comes from here."""
        now, request = self._now(), key.request
        connects = isinstance(request, LinkRequest)
        purpose = "connect" if connects else "setup" if isinstance(request, SetupRequest) else "relink"
        async with self._database.writing() as connection:
            await connection.execute(
                insert(minted_links).values(
                    environment=self._environment,
                    origin_id=key.end_user.origin_id,
                    email=key.end_user.email,
                    purpose=purpose,
                    integration_id=None if isinstance(request, LinkRequest) else request.integration_id,
                    category=request.category if isinstance(request, LinkRequest) else None,
                    tool=request.tool if isinstance(request, LinkRequest) else None,
                    language=request.language,
                    minted_at=now,
                    expires_at=now + timedelta(seconds=expires_in),
                )
            )

    @finishing
    async def has_minted_for(self, origin_id: str) -> bool:
        """Whether a link was ever minted here for this origin id."""
        query = select(minted_links.c.id).where(
            minted_links.c.environment == self._environment, minted_links.c.origin_id == origin_id
        )
        async with self._database.reading() as connection:
            return (await connection.execute(query.limit(1))).first() is not None

    @finishing
    async def save_completion(
        self, reported: ReportedIntegration, *, activation_token: str, recorded_for: str
    ) -> Completion | None:
        """Record what Kombo says of an integration under an origin id, and which token stood for it."""
        async with self._writing() as records:
            completion = await self._connect(records, reported, origin_id=recorded_for, learnt_by="browser")
            token_hash = _hash(activation_token)
            if await self._completed(records.connection, token_hash) is None:
                await records.connection.execute(
                    insert(completions).values(
                        environment=self._environment,
                        activation_token_sha256=token_hash,
                        integration_id=reported.integration_id,
                        completed_at=records.now,
                    )
                )
            await drops.write(records, recorded_for if completion else None)
        return completion

    @finishing
    async def find_completed(self, activation_token: str) -> Integration | None:
        """The integration that this activation token was exchanged for, if it was exchanged here."""
        async with self._reading() as records:
            integration_id = await self._completed(records.connection, _hash(activation_token))
            return None if integration_id is None else await records.find(integration_id)

    @finishing
    async def save_event(self, event: WebhookEvent, report: Report | None) -> str | None:
        """Keep a received event, once, and what it tells; the origin id whose links it ends."""
        async with self._writing() as records:
            if not await inbox.keep(records, event, report):
                return None
            ended_for = await self._apply(records, event, report)
            await drops.write(records, ended_for)
            return ended_for

    @finishing
    async def save_deleted(self, integration: Integration) -> None:
        """Mark an integration as deleted."""
        reported = ReportedIntegration(
            integration_id=integration.integration_id,
            tool=integration.tool,
            origin_id=integration.origin_id,
            organization_name=integration.organization_name,
            email=integration.email,
        )
        async with self._writing() as records:
            await records.delete(ReportedDeletion(reported))
            await drops.write(records, integration.origin_id)

    @finishing
    async def save_details(
        self, details: IntegrationDetails, *, unless_changed_since: datetime
    ) -> Integration | None:
        """Take over what Kombo says of an integration now; the record if that changed it."""
        async with self._writing() as records:
            return await records.refresh(details, unless_changed_since=unless_changed_since)

    @finishing
    async def find_drops(self, *, after: int) -> list[LinkDrop]:
        """What ended links, with row ids after this one, in their order."""
        async with self._database.reading() as connection:
            return await drops.find(connection, self._environment, after=after)

    @finishing
    async def prune_drops(self, *, before: datetime) -> None:
        """Forget the drops that were written before this moment."""
        async with self._database.writing() as connection:
            await drops.prune(connection, self._environment, before=before)

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

    async def _apply(self, records: Records, event: WebhookEvent, report: Report | None) -> str | None:
        """Record what an event tells; the origin id whose links it ends."""
        match report:
            case ReportedIntegration():
                await self._connect(records, report, origin_id=report.origin_id, learnt_by="webhook")
                return report.origin_id
            case ReportedDeletion():
                return await records.delete(report)
            case ReportedState():
                changed = await records.change_state(report)
                return changed.origin_id if changed else None
            case FailedFlow():
                await self._tell(records, "flow.failed", report.origin_id, _failure(report))
            case None:
                received: dict[str, object] = {"id": event.event_id, "type": event.type}
                origin_id = _origin_id_in(event.data)
                await self._tell(records, "kombo.event", origin_id, {**received, "data": event.data})
        return None

    async def _connect(
        self, records: Records, reported: ReportedIntegration, *, origin_id: str | None, learnt_by: str
    ) -> Completion | None:
        completion = await records.connect(reported, origin_id=origin_id, learnt_by=learnt_by)
        if completion is None or not completion.first:
            return completion
        # What Kombo told of it before we knew it counts from now on.
        for state in await inbox.states_of(records, reported.integration_id):
            changed = await records.change_state(state)
            completion = Completion(changed or completion.integration, first=True)
        return completion

    async def _tell(
        self, records: Records, event_type: str, origin_id: str | None, data: dict[str, object]
    ) -> None:
        await write_event(
            records.connection,
            environment=self._environment,
            type_=event_type,
            origin_id=origin_id,
            integration=None,
            data=data,
            now=records.now,
        )

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
        ConfigurationError: The database's folder does not exist.
        StoreUnavailable: The database cannot be opened or written.
    """
    database = Database(url)
    database.verify_folder()
    try:
        async with database.writing() as connection:
            return await connection.run_sync(migrations.run)
    finally:
        await database.aclose()


def _failure(flow: FailedFlow) -> dict[str, object]:
    return {"tool": flow.tool, "category": flow.category, "log_url": flow.log_url}


def _origin_id_in(data: dict[str, object]) -> str | None:
    end_user = data.get("end_user")
    origin_id = end_user.get("origin_id") if isinstance(end_user, dict) else None
    return origin_id if isinstance(origin_id, str) else None


def _hash(activation_token: str) -> str:
    return hashlib.sha256(activation_token.encode()).hexdigest()
