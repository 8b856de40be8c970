"""Duplicates, expired links, dead letters, malformed webhook bodies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TIME = sa.DateTime(timezone=True)
WAITING = sa.text("delivered_at IS NULL AND given_up_at IS NULL")
WATCHED = sa.text("watch_until IS NOT NULL")
INTEGRATIONS = "kombo_embed_integrations"
LINKS = "kombo_embed_minted_links"
OUTBOX = "kombo_embed_outbox"


def upgrade() -> None:
    """Add columns, indexes and a table. Links that have expired already cause no event later."""
    words = sa.String(64).with_variant(sa.Text(), "postgresql")
    op.add_column(INTEGRATIONS, sa.Column("qa_status", words))
    op.add_column(INTEGRATIONS, sa.Column("setup_updated_at", TIME))
    op.add_column(INTEGRATIONS, sa.Column("qa_updated_at", TIME))
    guessed = sa.Column("category_guessed", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column(INTEGRATIONS, guessed)
    op.add_column(INTEGRATIONS, sa.Column("duplicate_told_at", TIME))
    _copy_setup_times()
    op.add_column(LINKS, sa.Column("watch_until", TIME))
    _watch_valid_links()
    op.create_index(
        "ix_kombo_embed_minted_links_watched",
        LINKS,
        ["environment", "watch_until"],
        sqlite_where=WATCHED,
        postgresql_where=WATCHED,
    )
    _create_malformed_events()
    _extend_outbox()
    for table, time in (("completions", "completed_at"), ("received_events", "received_at")):
        op.create_index(f"ix_kombo_embed_{table}_{time}", f"kombo_embed_{table}", ["environment", time])


def _copy_setup_times() -> None:
    # Status and setup status shared one time before.
    table = sa.table(
        INTEGRATIONS,
        sa.column("setup_status"),
        sa.column("state_updated_at", TIME),
        sa.column("setup_updated_at", TIME),
    )
    known = table.c.setup_status.is_not(None)
    op.execute(sa.update(table).where(known).values(setup_updated_at=table.c.state_updated_at))


def _watch_valid_links() -> None:
    table = sa.table(
        LINKS, sa.column("purpose"), sa.column("expires_at", TIME), sa.column("watch_until", TIME)
    )
    now = datetime.now(UTC)
    # Links that live longer than an hour are magic links, whose expiry causes no event.
    valid = sa.and_(table.c.expires_at > now, table.c.expires_at < now + timedelta(hours=2))
    connects = table.c.purpose == "connect"
    op.execute(sa.update(table).where(connects, valid).values(watch_until=table.c.expires_at))


def _create_malformed_events() -> None:
    op.create_table(
        "kombo_embed_malformed_events",
        sa.Column("environment", sa.String(64), primary_key=True),
        sa.Column("body_sha256", sa.String(64), primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("times", sa.Integer, nullable=False),
        sa.Column("first_received_at", TIME, nullable=False),
        sa.Column("received_at", TIME, nullable=False),
    )


def _extend_outbox() -> None:
    op.add_column(OUTBOX, sa.Column("failures", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.add_column(OUTBOX, sa.Column("given_up_at", TIME))
    for name, columns in (
        ("ix_kombo_embed_outbox_waiting", ["environment", "type", "id"]),
        ("ix_kombo_embed_outbox_integration", ["environment", "integration_id", "id"]),
    ):
        op.drop_index(name, OUTBOX)
        op.create_index(name, OUTBOX, columns, sqlite_where=WAITING, postgresql_where=WAITING)
