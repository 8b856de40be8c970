"""The rows of integrations, inside a transaction under way: read, written, and told of."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Result, RowMapping, and_, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kombo_embed.integration import Integration
from kombo_embed.store.locks import hold
from kombo_embed.store.outbox import write_event
from kombo_embed.store.tables import integrations

PUBLIC_ID_BYTES = 16
PUBLIC_ID = re.compile(r"[A-Za-z0-9_-]{22}")  # so many bytes in base64url, without padding
NEXT_MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Rows:
    """The integrations of one environment, on one connection, at one moment."""

    connection: AsyncConnection
    environment: str
    now: datetime

    async def find(self, integration_id: str) -> Integration | None:
        """By Kombo's id; a deleted one is not there."""
        return await self._one(integrations.c.integration_id == integration_id)

    async def find_public(self, public_id: str, origin_id: str) -> Integration | None:
        """By our id, if it is this origin id's; what cannot be one of ours is not looked for."""
        if PUBLIC_ID.fullmatch(public_id) is None:
            return None
        return await self._one(integrations.c.public_id == public_id, integrations.c.origin_id == origin_id)

    async def of(self, origin_id: str) -> list[Integration]:
        """An origin id's, oldest first."""
        query = self.live(integrations.c.origin_id == origin_id).order_by(integrations.c.id)
        return [read(row) for row in (await self.connection.execute(query)).mappings()]

    async def after(self, integration_id: str, *, limit: int) -> list[Integration]:
        """All, by Kombo's ids: the next ones after this one."""
        query = self.live(integrations.c.integration_id > integration_id)
        found = await self.connection.execute(query.order_by(integrations.c.integration_id).limit(limit))
        return [read(row) for row in found.mappings()]

    async def row(self, integration_id: str) -> RowMapping | None:
        """The whole row, be it of a deleted one."""
        found = await self.connection.execute(select(integrations).where(self._is(integration_id)))
        return found.mappings().one_or_none()

    async def held_row(self, integration_id: str) -> RowMapping | None:
        """The whole row, after which nobody else works on this integration until the transaction ends."""
        await hold(self.connection, self.environment, integration_id)
        return await self.row(integration_id)

    async def insert(self, integration_id: str, **values: object) -> RowMapping:
        """Add a row that is not there yet."""
        added: Result[Any] = await self.connection.execute(
            insert(integrations)
            .values(
                environment=self.environment,
                integration_id=integration_id,
                public_id=secrets.token_urlsafe(PUBLIC_ID_BYTES),
                connected_at=self.now,
                updated_at=self.now,
                **values,
            )
            .returning(integrations)
        )
        return added.mappings().one()

    async def update(self, row: RowMapping, values: Mapping[str, object]) -> RowMapping:
        """Change a row; ``updated_at`` gets later with each change, also while the clock stands still."""
        moment = max(self.now, row["updated_at"] + NEXT_MOMENT)
        changed: Result[Any] = await self.connection.execute(
            update(integrations)
            .where(integrations.c.id == row["id"])
            .values(updated_at=moment, **values)
            .returning(integrations)
        )
        return changed.mappings().one()

    async def mark(self, row: RowMapping, values: Mapping[str, object]) -> None:
        """Note something of our own beside a record, which does not change it."""
        await self.connection.execute(
            update(integrations).where(integrations.c.id == row["id"]).values(**values)
        )

    async def tell(
        self, event_type: str, row: RowMapping, data: dict[str, object] | None = None
    ) -> Integration:
        """Write the event that tells the host of a record."""
        integration = read(row)
        await write_event(
            self.connection,
            environment=self.environment,
            type_=event_type,
            origin_id=integration.origin_id,
            integration=integration,
            data=data or {},
            now=self.now,
        )
        return integration

    def live(self, *conditions: ColumnElement[bool]) -> Any:  # noqa: ANN401 - Select is generic over its row
        """The query for integrations that are not deleted."""
        return select(integrations).where(
            integrations.c.environment == self.environment, integrations.c.deleted_at.is_(None), *conditions
        )

    async def _one(self, *conditions: ColumnElement[bool]) -> Integration | None:
        row = (await self.connection.execute(self.live(*conditions))).mappings().one_or_none()
        return None if row is None else read(row)

    def _is(self, integration_id: str) -> ColumnElement[bool]:
        return and_(
            integrations.c.environment == self.environment, integrations.c.integration_id == integration_id
        )


def read(row: RowMapping) -> Integration:
    """The record in a row."""
    return Integration(**{name: row[name] for name in Integration.__dataclass_fields__})
