"""The tables. Each has the Kombo environment in its key, so that environments can share a database.

Databases have these names, and migrations that a host's own Alembic generated name the types: keep both.
"""

from __future__ import annotations

import sqlalchemy as sa

from kombo_embed.store import search_keys
from kombo_embed.store.columns import ShortWords, UtcDateTime, Words, metadata, number, only_where, short
from kombo_embed.store.event_tables import (
    audit,
    deliveries,
    ended_deliveries,
    events,
    handlers,
    malformed_events,
    outbox,
    received_events,
    rollups,
)

__all__ = [
    "ShortWords",
    "UtcDateTime",
    "Words",
    "audit",
    "completions",
    "deliveries",
    "ended_deliveries",
    "erased_integrations",
    "erased_origins",
    "erasure_keys",
    "events",
    "handlers",
    "integrations",
    "link_invalidations",
    "malformed_events",
    "metadata",
    "minted_links",
    "outbox",
    "received_events",
    "rollups",
]

LIVE = only_where("deleted_at IS NULL")
WATCHED, CLOSED = only_where("watch_until IS NOT NULL"), only_where("watch_until IS NULL")

integrations = sa.Table(
    "kombo_embed_integrations",
    metadata,
    sa.Column("id", number(), primary_key=True),
    sa.Column("environment", sa.String(64), nullable=False),
    sa.Column("integration_id", short(255), nullable=False),
    sa.Column("public_id", sa.String(32), nullable=False, unique=True),
    sa.Column("origin_id", Words()),
    sa.Column("tool", short(255), nullable=False),
    sa.Column("category", short(64)),
    sa.Column("organization_name", Words()),
    sa.Column("email", Words()),
    sa.Column("status", short(64)),
    sa.Column("setup_status", short(64)),
    sa.Column("learnt_by", sa.String(16), nullable=False),
    sa.Column("connected_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    # Kombo's time of the status, compared with Kombo's times only; see merge.py.
    sa.Column("state_updated_at", UtcDateTime),
    sa.Column("deleted_at", UtcDateTime),
    sa.Column("qa_status", short(64)),
    sa.Column("setup_updated_at", UtcDateTime),
    sa.Column("qa_updated_at", UtcDateTime),
    # Whether the category comes from one of several links that match: Kombo has not reported it yet.
    sa.Column("category_guessed", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("duplicate_told_at", UtcDateTime),  # when integration.duplicate was written
    sa.Column("tool_label", short(255)),
    sa.Column("logo_url", Words()),
    # When to read the details from Kombo, or to read them again should the process that reads them die; None
    # if they were read, or if Kombo did not find the integration too often.
    sa.Column("details_due_at", UtcDateTime),
    sa.Column("details_attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("details_not_found", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("checked_at", UtcDateTime),  # when it was last read from Kombo
    sa.UniqueConstraint("environment", "integration_id", name="uq_kombo_embed_integrations_integration_id"),
    sa.Index("ix_kombo_embed_integrations_origin_id", "environment", "origin_id"),
    sa.Index("ix_kombo_embed_integrations_connected_at", "environment", "origin_id", "connected_at"),
    # For the lists of the command line, newest first.
    sa.Index("ix_kombo_embed_integrations_tool", "environment", "tool", "id"),
    sa.Index("ix_kombo_embed_integrations_status", "environment", "status", "id"),
    sa.Index("ix_kombo_embed_integrations_newest", "environment", "id", **LIVE),
    sa.Index(
        "ix_kombo_embed_integrations_deleted", "environment", "id", **only_where("deleted_at IS NOT NULL")
    ),
    # Pages of an origin id's integrations, filtered by what `Integration.next_action` depends on.
    sa.Index(
        "ix_kombo_embed_integrations_listed",
        *("environment", "origin_id", "connected_at", "id", "status", "setup_status"),
        **LIVE,
    ),
    # An origin id's integrations with one tool, and among them those to reconnect.
    sa.Index(
        "ix_kombo_embed_integrations_connected",
        *("environment", "origin_id", "tool", "category", "connected_at", "id"),
        *("status", "category_guessed"),
        **LIVE,
    ),
    sa.Index(
        "ix_kombo_embed_integrations_invalid",
        *("environment", "origin_id", "tool", "category", "connected_at", "id"),
        **only_where("deleted_at IS NULL AND status = 'INVALID'"),
    ),
    sa.Index(
        "ix_kombo_embed_integrations_details_due",
        *("environment", "details_due_at"),
        **only_where("details_due_at IS NOT NULL"),
    ),
    # For reconciliation, which leaves those to the reading of details that it is due for.
    sa.Index(
        "ix_kombo_embed_integrations_checked",
        *("environment", "checked_at"),
        **only_where("deleted_at IS NULL AND details_due_at IS NULL"),
    ),
    # Counts per day of connection, and those that do not work now, for the console. The time is first:
    # see search_keys.py.
    sa.Index(
        "ix_kombo_embed_integrations_cohort",
        *("connected_at", "environment", "tool", "status", "setup_status", "deleted_at"),
    ),
    sa.Index(
        "ix_kombo_embed_integrations_broken",
        *("environment", "id"),
        **only_where("deleted_at IS NULL AND status IN ('INVALID', 'INACTIVE')"),
    ),
    # Those that Kombo does not find, for the command line.
    sa.Index(
        "ix_kombo_embed_integrations_not_found",
        *("environment", "id"),
        **only_where("details_not_found >= 10 AND deleted_at IS NULL"),
    ),
)

# For whom and for what a link was minted. Never the link itself: it is a credential.
minted_links = sa.Table(
    "kombo_embed_minted_links",
    metadata,
    sa.Column("id", number(), primary_key=True),
    sa.Column("environment", sa.String(64), nullable=False),
    sa.Column("origin_id", Words(), nullable=False),
    sa.Column("email", Words(), nullable=False),
    sa.Column("purpose", sa.String(16), nullable=False),
    sa.Column("integration_id", short(255)),
    sa.Column("category", short(64)),
    sa.Column("tool", short(255)),
    sa.Column("language", sa.String(16), nullable=False),
    sa.Column("minted_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    # When to check whether a completion followed; None if that was done, or is not needed.
    sa.Column("watch_until", UtcDateTime),
    sa.Index("ix_kombo_embed_minted_links_origin_id", "environment", "origin_id", "id"),
    sa.Index("ix_kombo_embed_minted_links_watched", "environment", "watch_until", **WATCHED),
    sa.Index("ix_kombo_embed_minted_links_closed", "environment", "expires_at", **CLOSED),
    sa.Index("ix_kombo_embed_minted_links_minted_at", "environment", "minted_at", "purpose", "tool"),
)

for table, column in (
    *((integrations, name) for name in ("origin_id", "organization_name", "email")),
    *((minted_links, name) for name in ("origin_id", "email")),
):
    search_keys.index(table, column)

# Which integration an activation token was exchanged for. Kombo does not document that a token can be
# exchanged twice, so a repeated completion is answered from here. Only a hash of the token is stored.
completions = sa.Table(
    "kombo_embed_completions",
    metadata,
    sa.Column("environment", sa.String(64), primary_key=True),
    sa.Column("activation_token_sha256", sa.String(64), primary_key=True),
    sa.Column("integration_id", short(255), nullable=False),
    sa.Column("completed_at", UtcDateTime, nullable=False),
    sa.Index("ix_kombo_embed_completions_completed_at", "environment", "completed_at"),
)

# Changes of origin ids' integrations, written in the transaction that makes them, for every process to apply:
# all of them invalidate lists, most of them invalidate links.
# AUTOINCREMENT: ids are never reused, so a process knows by the greatest one which rows it has read.
link_invalidations = sa.Table(
    "kombo_embed_dropped_links",
    metadata,
    sa.Column("id", number(), primary_key=True),
    sa.Column("environment", sa.String(64), nullable=False),
    sa.Column("drop_id", sa.String(32), nullable=False),
    sa.Column("origin_id", Words(), nullable=False),
    sa.Column("dropped_at", UtcDateTime, nullable=False),
    # Whether only lists of the origin id's integrations changed. Older versions invalidate links, too.
    sa.Column("only_lists", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("ix_kombo_embed_dropped_links_environment", "environment", "id"),
    sqlite_autoincrement=True,
)

# Work that one process does at a time. A lease ends by itself: no connection holds it.
leases = sa.Table(
    "kombo_embed_leases",
    metadata,
    sa.Column("environment", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(32), nullable=False),
    sa.Column("ends_at", UtcDateTime, nullable=False),
)

# What is kept of customers whose personal data was erased, so that late reports bring nothing back.
# The key of the digests of origin ids, random, written by the first erasure. It has the life of the digests,
# so it is beside them: it is no secret from who can read the database.
erasure_keys = sa.Table(
    "kombo_embed_erasure_keys",
    metadata,
    sa.Column("environment", sa.String(64), primary_key=True),
    sa.Column("digest_key", sa.LargeBinary, nullable=False),
)

erased_origins = sa.Table(
    "kombo_embed_erased_origins",
    metadata,
    sa.Column("environment", sa.String(64), primary_key=True),
    sa.Column("origin_digest", sa.String(64), primary_key=True),
    sa.Column("erased_at", UtcDateTime, nullable=False),
)

# The digest says whose it was, for an erasure that continues after a crash, or deletes at Kombo later.
erased_integrations = sa.Table(
    "kombo_embed_erased_integrations",
    metadata,
    sa.Column("environment", sa.String(64), primary_key=True),
    sa.Column("integration_id", short(255), primary_key=True),
    sa.Column("origin_digest", sa.String(64), nullable=False),
    sa.Column("erased_at", UtcDateTime, nullable=False),
    sa.Index("ix_kombo_embed_erased_integrations_origin_digest", "environment", "origin_digest"),
)
