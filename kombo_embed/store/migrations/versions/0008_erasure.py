"""Marks of erased customers, and indexes to prune and to erase the audit trail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

TIME = sa.DateTime(timezone=True)
ERASED_INTEGRATIONS = "kombo_embed_erased_integrations"


def upgrade() -> None:
    """Create the tables and the indexes."""
    op.create_table(
        "kombo_embed_erasure_keys",
        sa.Column("environment", sa.String(64), primary_key=True),
        sa.Column("digest_key", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "kombo_embed_erased_origins",
        sa.Column("environment", sa.String(64), primary_key=True),
        sa.Column("origin_digest", sa.String(64), primary_key=True),
        sa.Column("erased_at", TIME, nullable=False),
    )
    integration_id = sa.String(255).with_variant(sa.Text(), "postgresql")
    op.create_table(
        ERASED_INTEGRATIONS,
        sa.Column("environment", sa.String(64), primary_key=True),
        sa.Column("integration_id", integration_id, primary_key=True),
        sa.Column("origin_digest", sa.String(64), nullable=False),
        sa.Column("erased_at", TIME, nullable=False),
    )
    index = "ix_kombo_embed_erased_integrations_origin_digest"
    op.create_index(index, ERASED_INTEGRATIONS, ["environment", "origin_digest"])
    for column in ("at", "integration_id"):
        op.create_index(f"ix_kombo_embed_audit_{column}", "kombo_embed_audit", ["environment", column])
