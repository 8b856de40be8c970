"""Indexes for pruning, for expired links and for the lists of the command line."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

INTEGRATIONS, MINTED_LINKS = "kombo_embed_integrations", "kombo_embed_minted_links"


def upgrade() -> None:
    """Create the indexes."""
    _create(INTEGRATIONS, "connected_at", "origin_id", "connected_at")
    _create(INTEGRATIONS, "tool", "tool", "id")
    _create(INTEGRATIONS, "status", "status", "id")
    _create(INTEGRATIONS, "newest", "id", where="deleted_at IS NULL")
    _create(INTEGRATIONS, "deleted", "id", where="deleted_at IS NOT NULL")
    _create(MINTED_LINKS, "closed", "expires_at", where="watch_until IS NULL")
    _create("kombo_embed_malformed_events", "received_at", "received_at")


def _create(table: str, name: str, *columns: str, where: str | None = None) -> None:
    condition = None if where is None else sa.text(where)
    op.create_index(
        f"ix_{table}_{name}",
        table,
        ["environment", *columns],
        sqlite_where=condition,
        postgresql_where=condition,
    )
