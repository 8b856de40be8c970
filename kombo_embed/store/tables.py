"""The tables. Every one has the Kombo environment in its key, so that environments can share a database."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

metadata = MetaData()


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC, also on databases that forget the time zone (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store in UTC."""
        del dialect
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Read as UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


integrations = Table(
    "kombo_embed_integrations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("environment", String(64), nullable=False),
    Column("integration_id", String(255), nullable=False),
    Column("public_id", String(32), nullable=False, unique=True),
    Column("origin_id", Text),
    Column("tool", String(255), nullable=False),
    Column("category", String(64)),
    Column("organization_name", Text),
    Column("email", Text),
    Column("status", String(64)),
    Column("setup_status", String(64)),
    Column("learnt_by", String(16), nullable=False),
    Column("connected_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("state_updated_at", UtcDateTime),  # Kombo's time, compared with Kombo's times only
    Column("deleted_at", UtcDateTime),
    UniqueConstraint("environment", "integration_id", name="uq_kombo_embed_integrations_integration_id"),
    Index("ix_kombo_embed_integrations_origin_id", "environment", "origin_id"),
)

# Who was given a link for what. Never the link itself: it is a credential.
minted_links = Table(
    "kombo_embed_minted_links",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("environment", String(64), nullable=False),
    Column("origin_id", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("integration_id", String(255)),
    Column("category", String(64)),
    Column("tool", String(255)),
    Column("language", String(16), nullable=False),
    Column("minted_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Index("ix_kombo_embed_minted_links_origin_id", "environment", "origin_id", "id"),
)

# Which integration an activation token stood for. Kombo does not say that a token can be exchanged twice, so
# a browser that asks again is answered from here. Only a hash of the token is kept.
completions = Table(
    "kombo_embed_completions",
    metadata,
    Column("environment", String(64), primary_key=True),
    Column("activation_token_sha256", String(64), primary_key=True),
    Column("integration_id", String(255), nullable=False),
    Column("completed_at", UtcDateTime, nullable=False),
)

received_events = Table(
    "kombo_embed_received_events",
    metadata,
    Column("environment", String(64), primary_key=True),
    Column("event_id", String(255), primary_key=True),
    Column("type", String(255), nullable=False),
    Column("integration_id", String(255)),
    Column("data", JSON, nullable=False),
    Column("report", JSON(none_as_null=True)),  # the state that it tells of, for integrations not known yet
    Column("received_at", UtcDateTime, nullable=False),
    Index("ix_kombo_embed_received_events_integration_id", "environment", "integration_id"),
)

outbox = Table(
    "kombo_embed_outbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("environment", String(64), nullable=False),
    Column("event_id", String(32), nullable=False, unique=True),
    Column("type", String(64), nullable=False),
    Column("origin_id", Text),
    Column("integration_id", String(255)),
    Column("integration", JSON(none_as_null=True)),
    Column("data", JSON, nullable=False),
    Column("occurred_at", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("done_handlers", JSON, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("lease_owner", String(32)),
    Column("lease_ends_at", UtcDateTime),
    Column("delivered_at", UtcDateTime),
    Index("ix_kombo_embed_outbox_waiting", "environment", "id", sqlite_where=text("delivered_at IS NULL")),
    Index(
        "ix_kombo_embed_outbox_integration",
        "environment",
        "integration_id",
        "id",
        sqlite_where=text("delivered_at IS NULL"),
    ),
)

# That links of an origin id ended, written in the transaction of what ended them, so that every process
# learns of it. Ids are never used twice: what a process has read already, it tells by them.
dropped_links = Table(
    "kombo_embed_dropped_links",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("environment", String(64), nullable=False),
    Column("drop_id", String(32), nullable=False),
    Column("origin_id", Text, nullable=False),
    Column("dropped_at", UtcDateTime, nullable=False),
    Index("ix_kombo_embed_dropped_links_environment", "environment", "id"),
    sqlite_autoincrement=True,
)
