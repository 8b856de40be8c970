"""Events, deliveries per handler, the registry of handlers; tables for the audit trail and rollups."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

TIME = sa.DateTime(timezone=True)
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def words(length: int) -> sa.types.TypeEngine[str]:
    """A text of an expected length, which PostgreSQL would enforce."""
    return sa.String(length).with_variant(sa.Text(), "postgresql")


def partial(name: str, table: str, columns: list[str], condition: str, *, unique: bool = False) -> None:
    """Create a partial index."""
    where = sa.text(condition)
    op.create_index(name, table, columns, unique=unique, sqlite_where=where, postgresql_where=where)


def upgrade() -> None:
    """Create the tables. The rows of the outbox move after the start, while the app runs."""
    _create_events()
    _create_deliveries()
    _create_ended_deliveries()
    _create_audit_and_rollups()
    partial(
        "ix_kombo_embed_outbox_undelivered",
        "kombo_embed_outbox",
        ["environment", "id"],
        "delivered_at IS NULL",
    )
    op.add_column("kombo_embed_received_events", sa.Column("origin_id", sa.Text))
    op.create_index(
        "ix_kombo_embed_received_events_origin_id",
        "kombo_embed_received_events",
        ["environment", "origin_id"],
    )


def _create_events() -> None:
    op.create_table(
        "kombo_embed_events",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("environment", sa.String(64), nullable=False),
        sa.Column("event_id", sa.String(32), nullable=False, unique=True),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("origin_id", sa.Text),
        sa.Column("integration_id", words(255)),
        sa.Column("integration", sa.JSON),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.Column("actor", sa.Text),
        sa.Column("trace_context", sa.String(255)),
        sa.Index("ix_kombo_embed_events_environment", "environment", "id"),
        sa.Index("ix_kombo_embed_events_occurred_at", "environment", "occurred_at"),
        sa.Index("ix_kombo_embed_events_origin_id", "environment", "origin_id"),
        sa.Index("ix_kombo_embed_events_integration_id", "environment", "integration_id", "id"),
    )
    op.create_table(
        "kombo_embed_handlers",
        sa.Column("environment", sa.String(64), primary_key=True),
        sa.Column("type", sa.String(64), primary_key=True),
        sa.Column("handler", words(255), primary_key=True),
        sa.Column("registered_at", TIME, nullable=False),
        sa.Column("last_seen_at", TIME, nullable=False),
    )


def _create_deliveries() -> None:
    table = "kombo_embed_deliveries"
    op.create_table(
        table,
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("environment", sa.String(64), nullable=False),
        sa.Column("event_row_id", NUMBER, nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("handler", words(255), nullable=False),
        sa.Column("lane", words(255)),
        sa.Column("due_at", TIME),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("lease_owner", sa.String(32)),
        sa.Column("lease_ends_at", TIME),
        sa.Column("last_error", sa.String(255)),
        sa.Index(f"ix_{table}_event", "environment", "event_row_id", "handler", unique=True),
    )
    lanes = ["environment", "handler", "lane", "event_row_id"]
    partial(f"ix_{table}_lane", table, lanes, "lane IS NOT NULL")
    heads = ["environment", "handler", "lane"]
    partial(f"ix_{table}_head", table, heads, "due_at IS NOT NULL", unique=True)
    partial(f"ix_{table}_due", table, ["environment", "handler", "due_at"], "due_at IS NOT NULL")
    for name, columns in (
        ("unclaimed", ["environment", "type", "event_row_id"]),
        ("unclaimed_lane", ["environment", "lane", "type", "event_row_id"]),
    ):
        partial(f"ix_{table}_{name}", table, columns, "handler = ''")


def _create_ended_deliveries() -> None:
    table = "kombo_embed_ended_deliveries"
    op.create_table(
        table,
        sa.Column("environment", sa.String(64), primary_key=True),
        sa.Column("event_row_id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("handler", words(255), primary_key=True),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("ended_at", TIME, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("last_error", sa.String(255)),
    )
    for name, columns in (
        ("undelivered", ["environment", "event_row_id", "handler"]),
        ("handler", ["environment", "handler", "event_row_id"]),
    ):
        partial(f"ix_{table}_{name}", table, columns, "outcome <> 'delivered'")


def _create_audit_and_rollups() -> None:
    op.create_table(
        "kombo_embed_audit",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("environment", sa.String(64), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("actor", sa.Text),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("origin_id", sa.Text),
        sa.Column("integration_id", words(255)),
        sa.Column("event_id", sa.String(32)),
        sa.Column("detail", sa.JSON),
        sa.Index("ix_kombo_embed_audit_environment", "environment", "id"),
        sa.Index("ix_kombo_embed_audit_origin_id", "environment", "origin_id"),
    )
    op.create_table(
        "kombo_embed_rollups",
        sa.Column("environment", sa.String(64), primary_key=True),
        sa.Column("metric", sa.String(64), primary_key=True),
        sa.Column("bucket", TIME, primary_key=True),
        sa.Column("dimension", words(255), primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
