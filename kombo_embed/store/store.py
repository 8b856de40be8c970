"""The store on SQLAlchemy Core: one upsert for all that Kombo says of an integration, whoever brings it."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kombo_embed.models import Completion, Integration, LinkKey, ReportedIntegration, WebhookEvent
from kombo_embed.ports import Clock
from kombo_embed.store import migrations
from kombo_embed.store.database import Database
from kombo_embed.store.outbox import Outbox, write_event
from kombo_embed.store.tables import completions, integrations, minted_links, received_events

PUBLIC_ID_BYTES = 16


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

    async def open(self) -> None:
        """Bring the tables to this version. Several processes may do so at once: one does, the rest wait.

        Raises:
            StoreUnavailable: The database cannot be opened or written.
        """
        async with self._database.writing() as connection:
            await connection.run_sync(migrations.run)

    async def close(self) -> None:
        """Close all connections."""
        await self._database.aclose()

    async def check(self) -> None:
        """Return if the database can be read, tables included.

        Raises:
            StoreUnavailable: It cannot.
        """
        async with self._database.reading() as connection:
            await connection.execute(select(literal(1)).select_from(integrations).limit(1))

    async def save_link_minted(self, key: LinkKey, expires_in: float) -> None:
        """Remember for whom and for what a link was minted: a completion's category comes from here."""
        now = self._now()
        async with self._database.writing() as connection:
            await connection.execute(
                insert(minted_links).values(
                    environment=self._environment,
                    origin_id=key.end_user.origin_id,
                    email=key.end_user.email,
                    category=key.request.category,
                    tool=key.request.tool,
                    language=key.request.language,
                    minted_at=now,
                    expires_at=now + timedelta(seconds=expires_in),
                )
            )

    async def has_minted_for(self, origin_id: str) -> bool:
        """Whether a link was ever minted here for this origin id."""
        async with self._database.reading() as connection:
            found = await connection.execute(
                select(minted_links.c.id).where(self._minted_for(origin_id)).limit(1)
            )
            return found.first() is not None

    async def save_completion(
        self, reported: ReportedIntegration, *, activation_token: str, recorded_for: str
    ) -> Completion:
        """Record what Kombo says of an integration under an origin id, and which token stood for it."""
        async with self._database.writing() as connection:
            completion = await self._upsert(connection, reported, origin_id=recorded_for, learnt_by="browser")
            token_hash = _hash(activation_token)
            if await self._completed(connection, token_hash) is None:
                await connection.execute(
                    insert(completions).values(
                        environment=self._environment,
                        activation_token_sha256=token_hash,
                        integration_id=reported.integration_id,
                        completed_at=self._now(),
                    )
                )
        return completion

    async def find_completed(self, activation_token: str) -> Integration | None:
        """The integration that this activation token was exchanged for, if it was exchanged here."""
        async with self._database.reading() as connection:
            integration_id = await self._completed(connection, _hash(activation_token))
            return await self._find(connection, integration_id) if integration_id is not None else None

    async def save_event(self, event: WebhookEvent, created: ReportedIntegration | None) -> None:
        """Keep a received event, once, and what it tells: an integration, or something for the host."""
        now = self._now()
        async with self._database.writing() as connection:
            seen = select(received_events.c.event_id).where(
                received_events.c.environment == self._environment,
                received_events.c.event_id == event.event_id,
            )
            if (await connection.execute(seen)).first() is not None:
                return
            await connection.execute(
                insert(received_events).values(
                    environment=self._environment,
                    event_id=event.event_id,
                    type=event.type,
                    data=event.data,
                    received_at=now,
                )
            )
            if created is not None:
                await self._upsert(connection, created, origin_id=created.origin_id, learnt_by="webhook")
                return
            await write_event(
                connection,
                environment=self._environment,
                type_="kombo.event",
                origin_id=_origin_id_in(event.data),
                integration=None,
                data={"id": event.event_id, "type": event.type, "data": event.data},
                now=now,
            )

    async def find_integrations(self, origin_id: str) -> list[Integration]:
        """The origin id's integrations, oldest first."""
        query = (
            select(integrations)
            .where(integrations.c.environment == self._environment, integrations.c.origin_id == origin_id)
            .order_by(integrations.c.id)
        )
        async with self._database.reading() as connection:
            return [_integration(row) for row in (await connection.execute(query)).mappings()]

    async def find_integration(self, integration_id: str) -> Integration | None:
        """One integration, by Kombo's id."""
        async with self._database.reading() as connection:
            return await self._find(connection, integration_id)

    async def _upsert(
        self,
        connection: AsyncConnection,
        reported: ReportedIntegration,
        *,
        origin_id: str | None,
        learnt_by: str,
    ) -> Completion:
        known = await self._find(connection, reported.integration_id)
        if known is not None:
            added = _additions(known, reported, origin_id)
            if added:
                await connection.execute(
                    update(integrations)
                    .where(self._is(reported.integration_id))
                    .values(**added, updated_at=self._now())
                )
                known = await self._existing(connection, reported.integration_id)
            return Completion(known, first=False)
        await self._insert(connection, reported, origin_id=origin_id, learnt_by=learnt_by)
        integration = await self._existing(connection, reported.integration_id)
        await write_event(
            connection,
            environment=self._environment,
            type_="integration.connected",
            origin_id=origin_id,
            integration=integration,
            data={},
            now=integration.connected_at,
        )
        return Completion(integration, first=True)

    async def _insert(
        self,
        connection: AsyncConnection,
        reported: ReportedIntegration,
        *,
        origin_id: str | None,
        learnt_by: str,
    ) -> None:
        now = self._now()
        category = reported.category or await self._minted_category(connection, origin_id, reported.tool)
        await connection.execute(
            insert(integrations).values(
                environment=self._environment,
                integration_id=reported.integration_id,
                public_id=secrets.token_urlsafe(PUBLIC_ID_BYTES),
                origin_id=origin_id,
                tool=reported.tool,
                category=category,
                organization_name=reported.organization_name,
                email=reported.email,
                status=None,
                setup_status=reported.setup_status,
                learnt_by=learnt_by,
                connected_at=now,
                updated_at=now,
            )
        )

    async def _minted_category(
        self, connection: AsyncConnection, origin_id: str | None, tool: str
    ) -> str | None:
        """Kombo does not tell a completion's category; the newest link that fits the tool does."""
        if origin_id is None:
            return None
        fits = or_(minted_links.c.tool == tool, minted_links.c.tool.is_(None))
        newest = (
            select(minted_links.c.category)
            .where(self._minted_for(origin_id), fits)
            .order_by(minted_links.c.id.desc())
            .limit(1)
        )
        return (await connection.execute(newest)).scalar_one_or_none()

    async def _completed(self, connection: AsyncConnection, token_hash: str) -> str | None:
        query = select(completions.c.integration_id).where(
            completions.c.environment == self._environment,
            completions.c.activation_token_sha256 == token_hash,
        )
        return (await connection.execute(query)).scalar_one_or_none()

    async def _find(self, connection: AsyncConnection, integration_id: str) -> Integration | None:
        found = await connection.execute(select(integrations).where(self._is(integration_id)))
        row = found.mappings().one_or_none()
        return None if row is None else _integration(row)

    async def _existing(self, connection: AsyncConnection, integration_id: str) -> Integration:
        found = await connection.execute(select(integrations).where(self._is(integration_id)))
        return _integration(found.mappings().one())

    def _is(self, integration_id: str) -> ColumnElement[bool]:
        return and_(
            integrations.c.environment == self._environment, integrations.c.integration_id == integration_id
        )

    def _minted_for(self, origin_id: str) -> ColumnElement[bool]:
        return and_(minted_links.c.environment == self._environment, minted_links.c.origin_id == origin_id)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.time(), UTC)


async def migrate(url: str) -> str:
    """Bring a database's tables to this version of the package, and tell which one that is.

    Raises:
        StoreUnavailable: The database cannot be opened or written.
    """
    database = Database(url)
    try:
        async with database.writing() as connection:
            return await connection.run_sync(migrations.run)
    finally:
        await database.aclose()


def _additions(known: Integration, reported: ReportedIntegration, origin_id: str | None) -> dict[str, Any]:
    # What is known is not overwritten: reports carry no time, so which of two is newer cannot be told.
    candidates = {
        "origin_id": origin_id,
        "category": reported.category,
        "organization_name": reported.organization_name,
        "email": reported.email,
        "setup_status": reported.setup_status,
    }
    return {
        name: value
        for name, value in candidates.items()
        if value is not None and getattr(known, name) is None
    }


def _integration(row: RowMapping) -> Integration:
    names = Integration.__dataclass_fields__
    return Integration(**{name: row[name] for name in names})


def _origin_id_in(data: dict[str, object]) -> str | None:
    end_user = data.get("end_user")
    origin_id = end_user.get("origin_id") if isinstance(end_user, dict) else None
    return origin_id if isinstance(origin_id, str) else None


def _hash(activation_token: str) -> str:
    return hashlib.sha256(activation_token.encode()).hexdigest()
