"""Details of integrations as background work, labels and logos, and leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

TIME = sa.DateTime(timezone=True)
INTEGRATIONS = "kombo_embed_integrations"


def upgrade() -> None:
    """Add the columns, their indexes and the table."""
    zero = sa.text("0")
    for column in (
        sa.Column("tool_label", sa.String(255).with_variant(sa.Text(), "postgresql")),
        sa.Column("logo_url", sa.Text),
        sa.Column("details_due_at", TIME),
        sa.Column("details_attempts", sa.Integer, nullable=False, server_default=zero),
        sa.Column("details_not_found", sa.Integer, nullable=False, server_default=zero),
        sa.Column("checked_at", TIME),
    ):
        op.add_column(INTEGRATIONS, column)
    _create_index("details_due", "details_due_at", where="details_due_at IS NOT NULL")
    _create_index("checked", "checked_at", where="deleted_at IS NULL AND details_due_at IS NULL")
    _create_index("not_found", "id", where="details_not_found >= 10 AND deleted_at IS NULL")
    op.create_table(
        "kombo_embed_leases",
        sa.Column("environment", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("ends_at", TIME, nullable=False),
    )


def _create_index(name: str, column: str, *, where: str) -> None:
    condition = sa.text(where)
    op.create_index(
        f"ix_{INTEGRATIONS}_{name}",
        INTEGRATIONS,
        ["environment", column],
        sqlite_where=condition,
        postgresql_where=condition,
    )
