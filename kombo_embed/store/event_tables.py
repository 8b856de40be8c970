"""The tables of events, from Kombo and for the host's handlers, of the audit trail and of rollups.

Events for handlers are facts and are only added. What is still to be delivered is in a small table of its
own, so that the search for due deliveries does not depend on how many were delivered.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from kombo_embed.store.columns import UtcDateTime, Words, metadata, number, only_where, short

FLOWS = "type IN ('flow.failed', 'flow.abandoned')"


def _event_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", number(), primary_key=True),
        sa.Column("environment", sa.String(64), nullable=False),
        sa.Column("event_id", sa.String(32), nullable=False, unique=True),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("origin_id", Words()),
        sa.Column("integration_id", short(255)),
        sa.Column("integration", sa.JSON(none_as_null=True)),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("occurred_at", UtcDateTime, nullable=False),
    ]


events = sa.Table(
    "kombo_embed_events",
    metadata,
    *_event_columns(),
    sa.Column("actor", Words()),  # the email of the end user who caused it
    sa.Column("trace_context", sa.String(255)),
    sa.Index("ix_kombo_embed_events_environment", "environment", "id"),
    sa.Index("ix_kombo_embed_events_occurred_at", "environment", "occurred_at"),
    sa.Index("ix_kombo_embed_events_origin_id", "environment", "origin_id"),
    sa.Index("ix_kombo_embed_events_integration_id", "environment", "integration_id", "id"),
    # Pages of the console, and how many flows ended without an integration per day.
    sa.Index("ix_kombo_embed_events_type", "environment", "type", "id"),
    sa.Index("ix_kombo_embed_events_customer", "environment", "origin_id", "type", "id"),
    sa.Index("ix_kombo_embed_events_flows", "environment", "occurred_at", **only_where(FLOWS)),
)

# Which handlers the host's processes have, so that every writer knows whom an event is for.
handlers = sa.Table(
    "kombo_embed_handlers",
    metadata,
    sa.Column("environment", sa.String(64), primary_key=True),
    sa.Column("type", sa.String(64), primary_key=True),
    sa.Column("handler", short(255), primary_key=True),
    sa.Column("registered_at", UtcDateTime, nullable=False),
    sa.Column("last_seen_at", UtcDateTime, nullable=False),
)

UNCLAIMED = only_where("handler = ''")
IN_LANE, HEAD = only_where("lane IS NOT NULL"), only_where("due_at IS NOT NULL")
UNDELIVERED = only_where("outcome <> 'delivered'")

# Unfinished deliveries, one for each event and handler. The deliveries of one handler and lane are made in
# the order of their events: only the first one, the head, has a due time. The lane is the integration's id;
# NULL: no order. The handler '' stands for the first handlers that will be registered for the type. A process
# that leases a delivery moves its due time forward, so that others do not see it as due.
deliveries = sa.Table(
    "kombo_embed_deliveries",
    metadata,
    sa.Column("id", number(), primary_key=True),
    sa.Column("environment", sa.String(64), nullable=False),
    sa.Column("event_row_id", number(), nullable=False),
    sa.Column("type", sa.String(64), nullable=False),
    sa.Column("handler", short(255), nullable=False),
    sa.Column("lane", short(255)),
    sa.Column("due_at", UtcDateTime),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),  # attempts in which the handler failed
    sa.Column("lease_owner", sa.String(32)),
    sa.Column("lease_ends_at", UtcDateTime),
    sa.Column("last_error", sa.String(255)),
    sa.Index("ix_kombo_embed_deliveries_event", "environment", "event_row_id", "handler", unique=True),
    sa.Index("ix_kombo_embed_deliveries_due", "environment", "handler", "due_at", **HEAD),
    # A lane has at most one head.
    sa.Index("ix_kombo_embed_deliveries_head", "environment", "handler", "lane", unique=True, **HEAD),
    sa.Index("ix_kombo_embed_deliveries_lane", "environment", "handler", "lane", "event_row_id", **IN_LANE),
    sa.Index("ix_kombo_embed_deliveries_unclaimed", "environment", "type", "event_row_id", **UNCLAIMED),
    sa.Index(
        "ix_kombo_embed_deliveries_unclaimed_lane", "environment", "lane", "type", "event_row_id", **UNCLAIMED
    ),
    sa.Index(
        "ix_kombo_embed_deliveries_failing",
        *("environment", "handler", "event_row_id"),
        **only_where("failures > 0"),
    ),
)

# How deliveries ended: delivered; dead, after too many failures; parked, because no process has the handler.
ended_deliveries = sa.Table(
    "kombo_embed_ended_deliveries",
    metadata,
    sa.Column("environment", sa.String(64), primary_key=True),
    sa.Column("event_row_id", number(), primary_key=True, autoincrement=False),
    sa.Column("handler", short(255), primary_key=True),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("ended_at", UtcDateTime, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("last_error", sa.String(255)),
    sa.Index(
        "ix_kombo_embed_ended_deliveries_undelivered",
        *("environment", "event_row_id", "handler"),
        **UNDELIVERED,
    ),
    sa.Index(
        "ix_kombo_embed_ended_deliveries_handler",
        *("environment", "handler", "event_row_id"),
        **UNDELIVERED,
    ),
)

received_events = sa.Table(
    "kombo_embed_received_events",
    metadata,
    sa.Column("environment", sa.String(64), primary_key=True),
    sa.Column("event_id", short(255), primary_key=True),
    sa.Column("type", short(255), nullable=False),
    sa.Column("integration_id", short(255)),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("report", sa.JSON(none_as_null=True)),  # the reported state, for integrations not known yet
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Column("origin_id", Words()),
    sa.Index("ix_kombo_embed_received_events_integration_id", "environment", "integration_id"),
    sa.Index("ix_kombo_embed_received_events_received_at", "environment", "received_at"),
    sa.Index("ix_kombo_embed_received_events_origin_id", "environment", "origin_id"),
)

# Signed bodies that cannot be parsed, for an operator to inspect. One row per body: Kombo sends each
# repeatedly, since we reject it.
malformed_events = sa.Table(
    "kombo_embed_malformed_events",
    metadata,
    sa.Column("environment", sa.String(64), primary_key=True),
    sa.Column("body_sha256", sa.String(64), primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("times", sa.Integer, nullable=False),
    sa.Column("first_received_at", UtcDateTime, nullable=False),
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Index("ix_kombo_embed_malformed_events_received_at", "environment", "received_at"),
)

# The outbox of earlier versions. This version only empties it: see outbox_drain.py.
# Neither delivered nor a dead letter.
WAITING = only_where("delivered_at IS NULL AND given_up_at IS NULL")

outbox = sa.Table(
    "kombo_embed_outbox",
    metadata,
    *_event_columns(),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("done_handlers", sa.JSON, nullable=False),
    sa.Column("due_at", UtcDateTime, nullable=False),
    sa.Column("lease_owner", sa.String(32)),
    sa.Column("lease_ends_at", UtcDateTime),
    sa.Column("delivered_at", UtcDateTime),
    # Attempts in which a handler failed.
    sa.Column("failures", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("given_up_at", UtcDateTime),  # when it became a dead letter
    sa.Index("ix_kombo_embed_outbox_waiting", "environment", "type", "id", **WAITING),
    sa.Index("ix_kombo_embed_outbox_integration", "environment", "integration_id", "id", **WAITING),
    sa.Index("ix_kombo_embed_outbox_undelivered", "environment", "id", **only_where("delivered_at IS NULL")),
)

# Who did what, for the commands and the console.
audit = sa.Table(
    "kombo_embed_audit",
    metadata,
    sa.Column("id", number(), primary_key=True),
    sa.Column("environment", sa.String(64), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("actor", Words()),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("origin_id", Words()),
    sa.Column("integration_id", short(255)),
    sa.Column("event_id", sa.String(32)),
    sa.Column("detail", sa.JSON(none_as_null=True)),
    sa.Index("ix_kombo_embed_audit_environment", "environment", "id"),
    sa.Index("ix_kombo_embed_audit_at", "environment", "at"),
    sa.Index("ix_kombo_embed_audit_integration_id", "environment", "integration_id"),
    sa.Index("ix_kombo_embed_audit_origin_id", "environment", "origin_id"),
)

# Counts per hour or day, which outlive the rows that they count.
rollups = sa.Table(
    "kombo_embed_rollups",
    metadata,
    sa.Column("environment", sa.String(64), primary_key=True),
    sa.Column("metric", sa.String(64), primary_key=True),
    sa.Column("bucket", UtcDateTime, primary_key=True),
    sa.Column("dimension", short(255), primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
)
