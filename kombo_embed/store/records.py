"""The records of integrations: what each report of Kombo's changes, inside a transaction under way.

Each change writes the event that tells the host of it. Reports come in any order and any number of times; the
records end the same.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kombo_embed.models import Completion, Integration
from kombo_embed.reports import IntegrationDetails, ReportedDeletion, ReportedIntegration, ReportedState
from kombo_embed.store.locks import hold
from kombo_embed.store.outbox import write_event
from kombo_embed.store.tables import integrations, minted_links

PUBLIC_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Records:
    """The integrations of one environment, on one connection, at one moment."""

    connection: AsyncConnection
    environment: str
    now: datetime

    async def find(self, integration_id: str) -> Integration | None:
        """By Kombo's id; a deleted one is not there."""
        return await self._one(integrations.c.integration_id == integration_id)

    async def find_public(self, public_id: str, origin_id: str) -> Integration | None:
        """By our id, if it is this origin id's."""
        return await self._one(integrations.c.public_id == public_id, integrations.c.origin_id == origin_id)

    async def of(self, origin_id: str) -> list[Integration]:
        """An origin id's, oldest first."""
        query = self._live(integrations.c.origin_id == origin_id).order_by(integrations.c.id)
        return [_integration(row) for row in (await self.connection.execute(query)).mappings()]

    async def is_known(self, integration_id: str) -> bool:
        """Whether there is a record, be it a deleted one."""
        query = select(integrations.c.id).where(self._is(integration_id))
        return (await self.connection.execute(query)).first() is not None

    async def connect(
        self, reported: ReportedIntegration, *, origin_id: str | None, learnt_by: str
    ) -> Completion | None:
        """Record an integration, or what is new about a known one; None if it is deleted already."""
        await self._hold(reported.integration_id)
        if not await self.is_known(reported.integration_id):
            await self._insert(reported, origin_id=origin_id, learnt_by=learnt_by, deleted_at=None)
            integration = await self._tell("integration.connected", reported.integration_id)
            return Completion(integration, first=True)
        known = await self.find(reported.integration_id)
        if known is None:
            return None
        added = _additions(known, reported, origin_id)
        if added:
            await self._update(reported.integration_id, **added, updated_at=self.now)
            known = await self._existing(reported.integration_id)
        return Completion(known, first=False)

    async def delete(self, deletion: ReportedDeletion) -> str | None:
        """Mark as deleted, also if it was never known; the origin id whose it was."""
        reported = deletion.integration
        await self._hold(reported.integration_id)
        known = await self.find(reported.integration_id)
        if known is not None:
            await self._tell("integration.deleted", reported.integration_id)
            await self._update(reported.integration_id, deleted_at=self.now, updated_at=self.now)
            return known.origin_id
        if not await self.is_known(reported.integration_id):
            await self._insert(
                reported, origin_id=reported.origin_id, learnt_by="webhook", deleted_at=self.now
            )
        return reported.origin_id

    async def change_state(self, state: ReportedState) -> Integration | None:
        """Take over a state, unless a later one of Kombo's is known; the record if that changed it."""
        await self._hold(state.integration_id)
        query = select(integrations.c.state_updated_at).where(self._is(state.integration_id))
        known_at = (await self.connection.execute(query)).scalar_one_or_none()
        if known_at is not None and (state.updated_at is None or state.updated_at < known_at):
            return None
        if state.updated_at is not None:
            await self._update(state.integration_id, state_updated_at=state.updated_at)
        return await self._take_over(
            state.integration_id, {"status": state.status, "setup_status": state.setup_status}
        )

    async def refresh(
        self, details: IntegrationDetails, *, unless_changed_since: datetime
    ) -> Integration | None:
        """Take over what Kombo says now, unless the record changed while it was asked."""
        await self._hold(details.integration_id)
        known = await self.find(details.integration_id)
        if known is None or known.updated_at != unless_changed_since:
            return None
        told = {"status": details.status, "setup_status": details.setup_status, "category": details.category}
        return await self._take_over(details.integration_id, told)

    async def _hold(self, integration_id: str) -> None:
        """Let nobody else work on this integration until the transaction ends: what is read here stays so."""
        await hold(self.connection, self.environment, integration_id)

    async def _take_over(self, integration_id: str, told: dict[str, str | None]) -> Integration | None:
        known = await self.find(integration_id)
        if known is None:
            return None
        changed = {name: value for name, value in told.items() if value not in (None, getattr(known, name))}
        if not changed:
            return None
        await self._update(integration_id, **changed, updated_at=self.now)
        return await self._tell("integration.updated", integration_id)

    async def _insert(
        self,
        reported: ReportedIntegration,
        *,
        origin_id: str | None,
        learnt_by: str,
        deleted_at: datetime | None,
    ) -> None:
        await self.connection.execute(
            insert(integrations).values(
                environment=self.environment,
                integration_id=reported.integration_id,
                public_id=secrets.token_urlsafe(PUBLIC_ID_BYTES),
                origin_id=origin_id,
                tool=reported.tool,
                category=reported.category or await self._minted_category(origin_id, reported.tool),
                organization_name=reported.organization_name,
                email=reported.email,
                setup_status=reported.setup_status,
                learnt_by=learnt_by,
                connected_at=self.now,
                updated_at=self.now,
                deleted_at=deleted_at,
            )
        )

    async def _update(self, integration_id: str, **values: Any) -> None:  # noqa: ANN401 - columns' values
        await self.connection.execute(update(integrations).where(self._is(integration_id)).values(**values))

    async def _tell(self, event_type: str, integration_id: str) -> Integration:
        integration = await self._existing(integration_id)
        await write_event(
            self.connection,
            environment=self.environment,
            type_=event_type,
            origin_id=integration.origin_id,
            integration=integration,
            data={},
            now=self.now,
        )
        return integration

    async def _minted_category(self, origin_id: str | None, tool: str) -> str | None:
        """Kombo does not tell a completion's category; the newest link that fits the tool does."""
        if origin_id is None:
            return None
        newest = (
            select(minted_links.c.category)
            .where(
                minted_links.c.environment == self.environment,
                minted_links.c.origin_id == origin_id,
                minted_links.c.category.is_not(None),
                or_(minted_links.c.tool == tool, minted_links.c.tool.is_(None)),
            )
            .order_by(minted_links.c.id.desc())
            .limit(1)
        )
        return (await self.connection.execute(newest)).scalar_one_or_none()

    async def _one(self, *conditions: ColumnElement[bool]) -> Integration | None:
        row = (await self.connection.execute(self._live(*conditions))).mappings().one_or_none()
        return None if row is None else _integration(row)

    async def _existing(self, integration_id: str) -> Integration:
        found = await self.connection.execute(select(integrations).where(self._is(integration_id)))
        return _integration(found.mappings().one())

    def _live(self, *conditions: ColumnElement[bool]) -> Any:  # noqa: ANN401 - Select is generic over its row
        return select(integrations).where(
            integrations.c.environment == self.environment, integrations.c.deleted_at.is_(None), *conditions
        )

    def _is(self, integration_id: str) -> ColumnElement[bool]:
        return and_(
            integrations.c.environment == self.environment, integrations.c.integration_id == integration_id
        )


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
    return Integration(**{name: row[name] for name in Integration.__dataclass_fields__})
