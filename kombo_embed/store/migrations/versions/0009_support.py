"""Indexes for the people who support customers: search, pages of events, and the counts of the console."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

INTEGRATIONS, MINTED_LINKS = "kombo_embed_integrations", "kombo_embed_minted_links"
EVENTS, DELIVERIES = "kombo_embed_events", "kombo_embed_deliveries"


def upgrade() -> None:
    """Create the indexes."""
    for column in ("origin_id", "organization_name", "email"):
        _create_search(INTEGRATIONS, column)
    for column in ("origin_id", "email"):
        _create_search(MINTED_LINKS, column)
    cohort = ["connected_at", "environment", "tool", "status", "setup_status", "deleted_at"]
    op.create_index(f"ix_{INTEGRATIONS}_cohort", INTEGRATIONS, cohort)
    broken = "deleted_at IS NULL AND status IN ('INVALID', 'INACTIVE')"
    _create(INTEGRATIONS, "broken", "id", where=broken)
    _create(MINTED_LINKS, "minted_at", "minted_at", "purpose", "tool")
    _create(EVENTS, "type", "type", "id")
    _create(EVENTS, "customer", "origin_id", "type", "id")
    _create(EVENTS, "flows", "occurred_at", where="type IN ('flow.failed', 'flow.abandoned')")
    _create(DELIVERIES, "failing", "handler", "event_row_id", where="failures > 0")


def _create_search(table: str, column: str) -> None:
    # The order of bytes, whatever the collation of the database.
    operators = " text_pattern_ops" if op.get_bind().dialect.name == "postgresql" else ""
    key = sa.text(f"substr(lower({column}), 1, 64){operators}")
    op.create_index(f"ix_{table}_{column}_key", table, [key, "environment", "origin_id"])


def _create(table: str, name: str, *columns: str, where: str | None = None) -> None:
    condition = None if where is None else sa.text(where)
    op.create_index(
        f"ix_{table}_{name}",
        table,
        ["environment", *columns],
        sqlite_where=condition,
        postgresql_where=condition,
    )
