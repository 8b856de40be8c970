"""Minted links: for whom, for what, until when, and whether a completion followed. Never the link itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, exists, insert, or_, select, update

from kombo_embed.clock import rfc3339
from kombo_embed.models import CacheKey, LinkRequest, LinkType, RelinkRequest, SetupRequest
from kombo_embed.store import audit
from kombo_embed.store.outbox import write_event
from kombo_embed.store.tables import integrations, minted_links
from kombo_embed.store.transaction import Transaction

# Built once, since they are executed often.
INSERT = insert(minted_links).returning(minted_links.c.id)
FIND_WATCHED = (
    select(minted_links.c.id, minted_links.c.watch_until)
    .where(minted_links.c.environment == bindparam("environment"), minted_links.c.watch_until.is_not(None))
    .order_by(minted_links.c.watch_until)
    .limit(bindparam("limit"))
)
CONNECT, PREFETCH = "connect", "prefetch"  # purposes
AUDITED = {
    LinkRequest: "magic_link_minted",
    RelinkRequest: "reconnect_link_minted",
    SetupRequest: "setup_link_minted",
}
MATCHES_MAX = 50  # how many of an origin id's newest links are considered for a category


async def save(
    transaction: Transaction, key: CacheKey, *, lifetime_seconds: float, link_type: LinkType, watch: bool
) -> int:
    """Save that a link was minted; return the row's id. A magic link is written to the audit trail, too.

    With ``watch``, a connect link is reported as abandoned if its time passes without a completion. Without,
    it was only prefetched: it is closed at the same time, but not reported.
    """
    is_connect = isinstance(key.request, LinkRequest)
    about = _about(key)
    expires_at = transaction.now + timedelta(seconds=lifetime_seconds)
    values = {
        "environment": transaction.environment,
        "email": key.email,
        "purpose": _purpose(key, link_type) if watch else PREFETCH,
        "language": key.request.language,
        "minted_at": transaction.now,
        "expires_at": expires_at,
        "watch_until": expires_at if is_connect and link_type == "EMBEDDED" else None,
    }
    inserted = await transaction.connection.execute(INSERT, values | about)
    if link_type == "MAGIC_LINK":
        await _write_audit(transaction, key, about)
    return int(inserted.scalar_one())


def _about(key: CacheKey) -> dict[str, str | None]:
    request, about = key.request, dict[str, str | None](origin_id=key.origin_id)
    if isinstance(request, LinkRequest):
        return about | {"integration_id": None, "category": request.category, "tool": request.tool}
    return about | {"integration_id": request.integration_id, "category": None, "tool": None}


async def _write_audit(transaction: Transaction, key: CacheKey, about: Mapping[str, str | None]) -> None:
    named = {name: about[name] for name in ("origin_id", "integration_id")}
    chosen = {name: about[name] for name in ("category", "tool")}
    detail = chosen if isinstance(key.request, LinkRequest) else None
    await audit.write(transaction, AUDITED[type(key.request)], **named, detail=detail)


async def watch_from_now(transaction: Transaction, row_id: int) -> None:
    """Watch a link that was only prefetched. One that has expired is closed already."""
    await transaction.connection.execute(
        update(minted_links)
        .where(minted_links.c.id == row_id, minted_links.c.environment == transaction.environment)
        .where(minted_links.c.purpose == PREFETCH)
        .values(purpose=CONNECT)
    )


async def exists_for(transaction: Transaction, origin_id: str) -> bool:
    """Return whether a link was ever minted for this origin id."""
    query = select(minted_links.c.id).where(
        minted_links.c.environment == transaction.environment, minted_links.c.origin_id == origin_id
    )
    return (await transaction.connection.execute(query.limit(1))).first() is not None


async def guess_category(transaction: Transaction, origin_id: str, tool: str) -> dict[str, Any]:
    """Return the category of the newest link that matches the tool, as columns of an integration.

    Kombo does not report the category of a completion. It is a guess if valid links disagree.
    """
    columns = minted_links.c
    matching = (
        select(columns.category, columns.expires_at)
        .where(
            columns.environment == transaction.environment,
            columns.origin_id == origin_id,
            columns.category.is_not(None),
            or_(columns.tool == tool, columns.tool.is_(None)),
        )
        .order_by(columns.id.desc())
        .limit(MATCHES_MAX)
    )
    links = list((await transaction.connection.execute(matching)).mappings())
    if not links:
        return {}
    newest = links[0]["category"]
    others = {link["category"] for link in links if link["expires_at"] > transaction.now} - {newest}
    return {"category": newest, "category_guessed": bool(others)}


async def find_watched(transaction: Transaction, *, limit: int) -> list[tuple[int, datetime]]:
    """Return the links that no process has closed yet, and when they expire, the first to expire first."""
    parameters = {"environment": transaction.environment, "limit": limit}
    rows = await transaction.connection.execute(FIND_WATCHED, parameters)
    return [(row.id, row.watch_until) for row in rows]


async def close(transaction: Transaction, ids: list[int]) -> int:
    """Close links, each once over all processes; write `flow.abandoned` for those without a completion."""
    result = await transaction.connection.execute(
        update(minted_links)
        .where(minted_links.c.id.in_(ids), minted_links.c.watch_until.is_not(None))
        .values(watch_until=None)
        .returning(minted_links)
    )
    closed = [link for link in result.mappings() if link["purpose"] == CONNECT]
    completed = await _find_completed(transaction, [link["id"] for link in closed])
    abandoned = [link for link in closed if link["id"] not in completed]
    for link in sorted(abandoned, key=lambda link: (link["expires_at"], link["id"])):
        data = {name: link[name] for name in ("tool", "category", "language")}
        data |= {name: rfc3339(link[name]) for name in ("minted_at", "expires_at")}
        about = {"origin_id": link["origin_id"], "actor": link["email"]}
        await write_event(transaction, "flow.abandoned", data=data, **about)
    return len(abandoned)


async def _find_completed(transaction: Transaction, ids: list[int]) -> set[int]:
    """Return those of these links after which an integration of their origin id was connected."""
    # A deleted integration counts, too: it was connected.
    connected = exists().where(
        integrations.c.environment == minted_links.c.environment,
        integrations.c.origin_id == minted_links.c.origin_id,
        integrations.c.connected_at >= minted_links.c.minted_at,
    )
    query = select(minted_links.c.id).where(minted_links.c.id.in_(ids), connected)
    return set((await transaction.connection.execute(query)).scalars())


def _purpose(key: CacheKey, link_type: LinkType) -> str:
    if isinstance(key.request, LinkRequest):
        return CONNECT if link_type == "EMBEDDED" else "magic_link"
    return "setup" if isinstance(key.request, SetupRequest) else "relink"
