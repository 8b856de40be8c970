"""The records of integrations: what each report of Kombo's changes, inside a transaction under way.

Each change writes the event that tells the host of it. Reports come in any order and any number of times; the
records end the same, by the rules of `kombo_embed.store.merge`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import RowMapping, or_, select

from kombo_embed.integration import Completion, Integration
from kombo_embed.store import duplicates, merge, webhook_events
from kombo_embed.store.tables import minted_links
from kombo_embed.store.transaction import Rows, read
from kombo_embed.upstream import IntegrationDetails, ReportedDeletion, ReportedIntegration, ReportedState

TOLD = ("status", "setup_status", "category", "origin_id")  # a change of these is an integration.updated
FITTING_LINKS = 50  # how many of an origin id's newest links are looked at


@dataclass(frozen=True, slots=True)
class Records(Rows):
    """What may happen to the integrations of one environment, on one connection, at one moment."""

    async def connect(
        self, reported: ReportedIntegration, *, origin_id: str | None, learnt_by: str
    ) -> Completion | None:
        """Record an integration, or what is new about a known one; None if it is deleted already."""
        row = await self.held_row(reported.integration_id)
        if row is None:
            return await self._first(reported, origin_id=origin_id, learnt_by=learnt_by)
        if row["deleted_at"] is not None:
            return None
        values = merge.by_report(row, reported, origin_id=origin_id)
        if row["category"] is None and values.get("origin_id") and "category" not in values:
            values |= await self._guess(origin_id, reported.tool)
        return Completion(await self._change(row, values), first=False)

    async def delete(
        self, deletion: ReportedDeletion, *, unless_changed_since: datetime | None = None
    ) -> str | None:
        """Mark as deleted, also if it was never known; the origin id whose it was."""
        reported = deletion.integration
        row = await self.held_row(reported.integration_id)
        if row is None:
            values = _first_values(reported, origin_id=reported.origin_id, learnt_by="webhook")
            await self.insert(reported.integration_id, **values, deleted_at=self.now)
            return reported.origin_id
        if row["deleted_at"] is None and unless_changed_since in (None, row["updated_at"]):
            named = {"origin_id": row["origin_id"] or reported.origin_id}
            row = await self.update(row, named | {"deleted_at": self.now})
            await self.tell("integration.deleted", row)
        return row["origin_id"] or reported.origin_id

    async def change_state(self, state: ReportedState) -> Integration | None:
        """Take over a state, unless a later one of Kombo's is known; the record, if there is one."""
        row = await self.held_row(state.integration_id)
        if row is None or row["deleted_at"] is not None:
            return None
        return await self._change(row, merge.by_state(row, state))

    async def refresh(
        self, details: IntegrationDetails, *, states_unless_changed_since: datetime
    ) -> Integration | None:
        """Take over what Kombo says now, the states unless the record changed meanwhile; the new record."""
        row = await self.held_row(details.integration_id)
        if row is None or row["deleted_at"] is not None:
            return None
        changed_meanwhile = row["updated_at"] != states_unless_changed_since
        values = merge.by_details(row, details, changed_meanwhile=changed_meanwhile)
        return await self._change(row, values) if values else None

    async def _first(
        self, reported: ReportedIntegration, *, origin_id: str | None, learnt_by: str
    ) -> Completion:
        values = _first_values(reported, origin_id=origin_id, learnt_by=learnt_by)
        if reported.category is None and origin_id is not None:
            values |= await self._guess(origin_id, reported.tool)
        row = await self.insert(reported.integration_id, **values)
        # What Kombo told of it before we knew it counts from now on.
        for state in await webhook_events.states_of(self, reported.integration_id):
            known = merge.by_state(row, state)
            if known:
                row = await self.update(row, known)
        integration = await self.tell("integration.connected", row)
        await duplicates.tell(self, row)
        return Completion(integration, first=True)

    async def _change(self, row: RowMapping, values: merge.Values) -> Integration:
        if not values:
            return read(row)
        row = await self.update(row, values)
        if values.keys() & set(TOLD):
            await self.tell("integration.updated", row)
        if values.keys() & {"origin_id", "category", "category_guessed"}:
            await duplicates.tell(self, row)
        return read(row)

    async def _guess(self, origin_id: str | None, tool: str) -> merge.Values:
        """Kombo does not tell a completion's category; the newest link that fits the tool does."""
        fitting = (
            select(minted_links.c.category, minted_links.c.expires_at)
            .where(
                minted_links.c.environment == self.environment,
                minted_links.c.origin_id == origin_id,
                minted_links.c.category.is_not(None),
                or_(minted_links.c.tool == tool, minted_links.c.tool.is_(None)),
            )
            .order_by(minted_links.c.id.desc())
            .limit(FITTING_LINKS)
        )
        links = list((await self.connection.execute(fitting)).mappings())
        if not links:
            return {}
        newest = links[0]["category"]
        others = {link["category"] for link in links if link["expires_at"] > self.now} - {newest}
        return {"category": newest, "category_guessed": bool(others)}


def _first_values(reported: ReportedIntegration, *, origin_id: str | None, learnt_by: str) -> merge.Values:
    return {
        "origin_id": origin_id,
        "tool": reported.tool,
        "category": reported.category,
        "organization_name": reported.organization_name,
        "email": reported.email,
        "setup_status": reported.setup_status,
        "learnt_by": learnt_by,
    }
