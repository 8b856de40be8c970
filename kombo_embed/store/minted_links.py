"""The links that were minted: for whom, for what, until when, and what became of them. Never the links."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import RowMapping, exists, insert, select, update

from kombo_embed.models import CacheKey, LinkRequest, LinkType, SetupRequest
from kombo_embed.store.outbox import write_event
from kombo_embed.store.tables import integrations, minted_links
from kombo_embed.store.transaction import Rows

MINTED = insert(minted_links)  # made once, as all that is executed often


async def save(rows: Rows, key: CacheKey, *, lifetime_seconds: float, link_type: LinkType) -> None:
    """Write down that a link was minted."""
    request = key.request
    connects = isinstance(request, LinkRequest)
    expires_at = rows.now + timedelta(seconds=lifetime_seconds)
    await rows.connection.execute(
        MINTED,
        {
            "environment": rows.environment,
            "origin_id": key.origin_id,
            "email": key.email,
            "purpose": _purpose(key, link_type),
            "integration_id": None if isinstance(request, LinkRequest) else request.integration_id,
            "category": request.category if isinstance(request, LinkRequest) else None,
            "tool": request.tool if isinstance(request, LinkRequest) else None,
            "language": request.language,
            "minted_at": rows.now,
            "expires_at": expires_at,
            "watch_until": expires_at if connects and link_type == "EMBEDDED" else None,
        },
    )


async def exists_for(rows: Rows, origin_id: str) -> bool:
    """Whether a link was ever minted for this origin id."""
    query = select(minted_links.c.id).where(
        minted_links.c.environment == rows.environment, minted_links.c.origin_id == origin_id
    )
    return (await rows.connection.execute(query.limit(1))).first() is not None


async def ended(rows: Rows, *, limit: int) -> list[int]:
    """Links that have ended and whose end nobody has looked at yet, the oldest first."""
    query = (
        select(minted_links.c.id)
        .where(minted_links.c.environment == rows.environment, minted_links.c.watch_until <= rows.now)
        .order_by(minted_links.c.watch_until)
        .limit(limit)
    )
    return list((await rows.connection.execute(query)).scalars())


async def settle(rows: Rows, ids: list[int]) -> int:
    """Look at the ends of these links, each once over all processes: tell of those that led to nothing."""
    claimed = await rows.connection.execute(
        update(minted_links)
        .where(minted_links.c.id.in_(ids), minted_links.c.watch_until.is_not(None))
        .values(watch_until=None)
        .returning(minted_links)
    )
    abandoned = [row for row in claimed.mappings() if not await _led_somewhere(rows, row)]
    for row in sorted(abandoned, key=lambda row: (row["expires_at"], row["id"])):
        await write_event(
            rows.connection,
            environment=rows.environment,
            type_="flow.abandoned",
            origin_id=row["origin_id"],
            integration=None,
            data={
                "tool": row["tool"],
                "category": row["category"],
                "language": row["language"],
                "minted_at": _rfc3339(row["minted_at"]),
                "expires_at": _rfc3339(row["expires_at"]),
            },
            now=rows.now,
        )
    return len(abandoned)


async def _led_somewhere(rows: Rows, link: RowMapping) -> bool:
    # Deleted later or not: that somebody connected is what counts.
    recorded = exists().where(
        integrations.c.environment == rows.environment,
        integrations.c.origin_id == link["origin_id"],
        integrations.c.connected_at >= link["minted_at"],
    )
    return bool((await rows.connection.execute(select(recorded))).scalar_one())


def _purpose(key: CacheKey, link_type: LinkType) -> str:
    if isinstance(key.request, LinkRequest):
        return "connect" if link_type == "EMBEDDED" else "magic_link"
    return "setup" if isinstance(key.request, SetupRequest) else "relink"


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
