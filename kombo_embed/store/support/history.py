"""What happened to one customer: links, events, and what people did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, select

from kombo_embed.event import EVENT_TYPES
from kombo_embed.store import audit, host_events
from kombo_embed.store.tables import events, minted_links
from kombo_embed.store.transaction import Transaction

HISTORY_SHOWN = 60
IN_HISTORY = tuple(name for name in EVENT_TYPES if name != "kombo.event")
TWICE = {"connected"}  # entries of the audit trail that are events, too


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened to a customer. ``kind`` is an event's type, an action, or a link's purpose."""

    at: datetime
    kind: str
    actor: str | None = field(repr=False)
    integration_id: str | None = None
    tool: str | None = None
    event_id: str | None = None
    data: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)


async def read_links(transaction: Transaction, origin_id: str) -> Sequence[RowMapping]:
    """Return the newest links of a customer, as rows."""
    query = select(minted_links).where(
        minted_links.c.environment == transaction.environment, minted_links.c.origin_id == origin_id
    )
    newest = query.order_by(minted_links.c.id.desc()).limit(HISTORY_SHOWN)
    return (await transaction.connection.execute(newest)).mappings().all()


async def read_history(transaction: Transaction, origin_id: str, links: Sequence[RowMapping]) -> list[Step]:
    """Return what happened to a customer, the newest first."""
    entries = await audit.find(transaction, origin_id=origin_id, limit=HISTORY_SHOWN, before=None)
    by_whom = {entry.at: entry.actor for entry in entries if entry.action.endswith("link_minted")}
    steps = [
        Step(
            link["minted_at"],
            f"link.{link['purpose']}",
            by_whom.get(link["minted_at"]),
            integration_id=link["integration_id"],
            tool=link["tool"],
            data={"email": link["email"], "expires_at": link["expires_at"]},
        )
        for link in links
        if link["purpose"] != "prefetch"
    ]
    steps += [
        Step(entry.at, entry.action, entry.actor, integration_id=entry.integration_id)
        for entry in entries
        if entry.action not in TWICE and not entry.action.endswith("link_minted")
    ]
    steps += await _read_events(transaction, origin_id)
    return sorted(steps, key=lambda step: step.at, reverse=True)[:HISTORY_SHOWN]


async def _read_events(transaction: Transaction, origin_id: str) -> list[Step]:
    ids = await host_events.find_newest(
        transaction, types=IN_HISTORY, origin_id=origin_id, limit=HISTORY_SHOWN
    )
    rows = await transaction.connection.execute(select(events).where(events.c.id.in_(ids)))
    return [
        Step(
            row["occurred_at"],
            row["type"],
            row["actor"],
            integration_id=row["integration_id"],
            tool=(row["integration"] or row["data"]).get("tool"),
            event_id=row["event_id"],
            data=row["data"],
        )
        for row in rows.mappings()
    ]
