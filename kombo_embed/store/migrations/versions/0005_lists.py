"""Pages of integrations, integrations by tool, and changes that concern lists only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

INTEGRATIONS = "kombo_embed_integrations"
LIVE = "deleted_at IS NULL"


def upgrade() -> None:
    """Add the indexes and the column."""
    by_tool = ["environment", "origin_id", "tool", "category", "connected_at", "id"]
    _create_index(
        "listed", ["environment", "origin_id", "connected_at", "id", "status", "setup_status"], LIVE
    )
    _create_index("connected", [*by_tool, "status", "category_guessed"], LIVE)
    _create_index("invalid", by_tool, f"{LIVE} AND status = 'INVALID'")
    only_lists = sa.Column("only_lists", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("kombo_embed_dropped_links", only_lists)


def _create_index(name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(
        f"ix_{INTEGRATIONS}_{name}", INTEGRATIONS, columns, sqlite_where=where, postgresql_where=where
    )
