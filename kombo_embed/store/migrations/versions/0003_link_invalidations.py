"""Invalidations of links, for the processes that cache links."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "kombo_embed_dropped_links",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("environment", sa.String(64), nullable=False),
        sa.Column("drop_id", sa.String(32), nullable=False),
        sa.Column("origin_id", sa.Text, nullable=False),
        sa.Column("dropped_at", sa.DateTime(timezone=True), nullable=False),
        sa.Index("ix_kombo_embed_dropped_links_environment", "environment", "id"),
        sqlite_autoincrement=True,
    )
