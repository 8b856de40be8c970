"""The tables. Each has the Kombo environment in its key, so that environments can share a database.

Databases have these names, and migrations that a host's own Alembic generated name the types: keep both.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.types import TypeEngine

metadata = MetaData()


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC, also on SQLite, which does not store the time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC."""
        del dialect
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC, which a time without a zone is in."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Words(TypeDecorator[str]):
    """A text from Kombo, the host or an end user. NUL becomes U+FFFD: PostgreSQL cannot store it."""

    impl: type[String] = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Replace NUL."""
        del dialect
        return None if value is None else value.replace("\x00", "\ufffd")


class ShortWords(Words):
    """A text of an expected length."""

    impl = String
    cache_ok = True


def _short(length: int) -> TypeEngine[str]:
    # SQLite ignores the length; PostgreSQL would reject the row, and with it what Kombo reported.
    return ShortWords(length).with_variant(Words(), "postgresql")


def _number() -> TypeEngine[int]:
    # SQLite assigns row ids only if the type is exactly INTEGER.
    return BigInteger().with_variant(Integer(), "sqlite")


integrations = Table(
    "kombo_embed_integrations",
    metadata,
    Column("id", _number(), primary_key=True),
    Column("environment", String(64), nullable=False),
    Column("integration_id", _short(255), nullable=False),
    Column("public_id", String(32), nullable=False, unique=True),
    Column("origin_id", Words()),
    Column("tool", _short(255), nullable=False),
    Column("category", _short(64)),
    Column("organization_name", Words()),
    Column("email", Words()),
    Column("status", _short(64)),
    Column("setup_status", _short(64)),
    Column("learnt_by", String(16), nullable=False),
    Column("connected_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    # Kombo's time of the status, compared with Kombo's times only; see merge.py.
    Column("state_updated_at", UtcDateTime),
    Column("deleted_at", UtcDateTime),
    Column("qa_status", _short(64)),
    Column("setup_updated_at", UtcDateTime),
    Column("qa_updated_at", UtcDateTime),
    # Whether the category comes from one of several links that match: Kombo has not reported it yet.
    Column("category_guessed", Boolean, nullable=False, server_default=false()),
    Column("duplicate_told_at", UtcDateTime),  # when integration.duplicate was written
    UniqueConstraint("environment", "integration_id", name="uq_kombo_embed_integrations_integration_id"),
    Index("ix_kombo_embed_integrations_origin_id", "environment", "origin_id"),
)

# For whom and for what a link was minted. Never the link itself: it is a credential.
minted_links = Table(
    "kombo_embed_minted_links",
    metadata,
    Column("id", _number(), primary_key=True),
    Column("environment", String(64), nullable=False),
    Column("origin_id", Words(), nullable=False),
    Column("email", Words(), nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("integration_id", _short(255)),
    Column("category", _short(64)),
    Column("tool", _short(255)),
    Column("language", String(16), nullable=False),
    Column("minted_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    # When to check whether a completion followed; None if that was done, or is not needed.
    Column("watch_until", UtcDateTime),
    Index("ix_kombo_embed_minted_links_origin_id", "environment", "origin_id", "id"),
    Index(
        "ix_kombo_embed_minted_links_watched",
        "environment",
        "watch_until",
        sqlite_where=text("watch_until IS NOT NULL"),
        postgresql_where=text("watch_until IS NOT NULL"),
    ),
)

# Which integration an activation token was exchanged for. Kombo does not document that a token can be
# exchanged twice, so a repeated completion is answered from here. Only a hash of the token is stored.
completions = Table(
    "kombo_embed_completions",
    metadata,
    Column("environment", String(64), primary_key=True),
    Column("activation_token_sha256", String(64), primary_key=True),
    Column("integration_id", _short(255), nullable=False),
    Column("completed_at", UtcDateTime, nullable=False),
    Index("ix_kombo_embed_completions_completed_at", "environment", "completed_at"),
)

received_events = Table(
    "kombo_embed_received_events",
    metadata,
    Column("environment", String(64), primary_key=True),
    Column("event_id", _short(255), primary_key=True),
    Column("type", _short(255), nullable=False),
    Column("integration_id", _short(255)),
    Column("data", JSON, nullable=False),
    Column("report", JSON(none_as_null=True)),  # the reported state, for integrations not known yet
    Column("received_at", UtcDateTime, nullable=False),
    Index("ix_kombo_embed_received_events_integration_id", "environment", "integration_id"),
    Index("ix_kombo_embed_received_events_received_at", "environment", "received_at"),
)

# Signed bodies that cannot be parsed, for an operator to inspect. One row per body: Kombo sends each
# repeatedly, since we reject it.
malformed_events = Table(
    "kombo_embed_malformed_events",
    metadata,
    Column("environment", String(64), primary_key=True),
    Column("body_sha256", String(64), primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    Column("times", Integer, nullable=False),
    Column("first_received_at", UtcDateTime, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
)

# Neither delivered nor a dead letter.
WAITING = text("delivered_at IS NULL AND given_up_at IS NULL")

outbox = Table(
    "kombo_embed_outbox",
    metadata,
    Column("id", _number(), primary_key=True),
    Column("environment", String(64), nullable=False),
    Column("event_id", String(32), nullable=False, unique=True),
    Column("type", String(64), nullable=False),
    Column("origin_id", Words()),
    Column("integration_id", _short(255)),
    Column("integration", JSON(none_as_null=True)),
    Column("data", JSON, nullable=False),
    Column("occurred_at", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("done_handlers", JSON, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("lease_owner", String(32)),
    Column("lease_ends_at", UtcDateTime),
    Column("delivered_at", UtcDateTime),
    # Attempts in which a handler failed.
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("given_up_at", UtcDateTime),  # when it became a dead letter
    Index(
        "ix_kombo_embed_outbox_waiting",
        "environment",
        "type",
        "id",
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    ),
    Index(
        "ix_kombo_embed_outbox_integration",
        "environment",
        "integration_id",
        "id",
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    ),
)

# Invalidations of origin ids' links, written in the transaction that caused them, for every process to apply.
# AUTOINCREMENT: ids are never reused, so a process knows by the greatest one which rows it has read.
link_invalidations = Table(
    "kombo_embed_dropped_links",
    metadata,
    Column("id", _number(), primary_key=True),
    Column("environment", String(64), nullable=False),
    Column("drop_id", String(32), nullable=False),
    Column("origin_id", Words(), nullable=False),
    Column("dropped_at", UtcDateTime, nullable=False),
    Index("ix_kombo_embed_dropped_links_environment", "environment", "id"),
    sqlite_autoincrement=True,
)
