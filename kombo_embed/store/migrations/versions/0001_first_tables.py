"""The first tables: integrations, minted links, completions, received events, outbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TIME = sa.DateTime(timezone=True)
WAITING = sa.text("delivered_at IS NULL")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def words(length: int) -> sa.types.TypeEngine[str]:
    """A text of an expected length, which PostgreSQL would enforce."""
    return sa.String(length).with_variant(sa.Text(), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "kombo_embed_integrations",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("environment", sa.String(64), nullable=False),
        sa.Column("integration_id", words(255), nullable=False),
        sa.Column("public_id", sa.String(32), nullable=False, unique=True),
        sa.Column("origin_id", sa.Text),
        sa.Column("tool", words(255), nullable=False),
        sa.Column("category", words(64)),
        sa.Column("organization_name", sa.Text),
        sa.Column("email", sa.Text),
        sa.Column("status", words(64)),
        sa.Column("setup_status", words(64)),
        sa.Column("learnt_by", sa.String(16), nullable=False),
        sa.Column("connected_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("state_updated_at", TIME),
        sa.Column("deleted_at", TIME),
        sa.UniqueConstraint(
            "environment", "integration_id", name="uq_kombo_embed_integrations_integration_id"
        ),
        sa.Index("ix_kombo_embed_integrations_origin_id", "environment", "origin_id"),
    )
    op.create_table(
        "kombo_embed_minted_links",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("environment", sa.String(64), nullable=False),
        sa.Column("origin_id", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("integration_id", words(255)),
        sa.Column("category", words(64)),
        sa.Column("tool", words(255)),
        sa.Column("language", sa.String(16), nullable=False),
        sa.Column("minted_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Index("ix_kombo_embed_minted_links_origin_id", "environment", "origin_id", "id"),
    )
    op.create_table(
        "kombo_embed_completions",
        sa.Column("environment", sa.String(64), primary_key=True),
        sa.Column("activation_token_sha256", sa.String(64), primary_key=True),
        sa.Column("integration_id", words(255), nullable=False),
        sa.Column("completed_at", TIME, nullable=False),
    )
    op.create_table(
        "kombo_embed_received_events",
        sa.Column("environment", sa.String(64), primary_key=True),
        sa.Column("event_id", words(255), primary_key=True),
        sa.Column("type", words(255), nullable=False),
        sa.Column("integration_id", words(255)),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("report", sa.JSON),
        sa.Column("received_at", TIME, nullable=False),
        sa.Index("ix_kombo_embed_received_events_integration_id", "environment", "integration_id"),
    )
    op.create_table(
        "kombo_embed_outbox",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("environment", sa.String(64), nullable=False),
        sa.Column("event_id", sa.String(32), nullable=False, unique=True),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("origin_id", sa.Text),
        sa.Column("integration_id", words(255)),
        sa.Column("integration", sa.JSON),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("done_handlers", sa.JSON, nullable=False),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("lease_owner", sa.String(32)),
        sa.Column("lease_ends_at", TIME),
        sa.Column("delivered_at", TIME),
        sa.Index(
            "ix_kombo_embed_outbox_waiting",
            "environment",
            "id",
            sqlite_where=WAITING,
            postgresql_where=WAITING,
        ),
        sa.Index(
            "ix_kombo_embed_outbox_integration",
            "environment",
            "integration_id",
            "id",
            sqlite_where=WAITING,
            postgresql_where=WAITING,
        ),
    )
