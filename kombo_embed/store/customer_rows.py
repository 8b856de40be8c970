"""Which rows are a customer's: by the origin id, by an id of their integrations, or by what a body names."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Table, and_, exists, or_, select, union

from kombo_embed.store.erasure_marks import digest
from kombo_embed.store.tables import (
    audit,
    completions,
    erased_integrations,
    events,
    integrations,
    minted_links,
    outbox,
    received_events,
)

NAMING_INTEGRATIONS = (received_events, outbox, events, minted_links, audit)
WITH_BODIES = (received_events, outbox, events)
# Keys of Kombo's under which a body names a customer.
ORIGIN_ID_KEYS = {"origin_id", "end_user_origin_id"}
ERASED = "erased:"  # begins each pseudonym
ACTOR_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer whose data is erased. ``key`` is that of the digests."""

    environment: str
    origin_id: str
    key: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        """Return what stays in place of the origin id."""
        return digest(self.key, self.origin_id)

    @property
    def pseudonym(self) -> str:
        """Return what replaces the origin id in the audit trail."""
        return f"{ERASED}{self.digest}"

    def pseudonym_of(self, actor: str) -> str:
        """Return what replaces the name of a person who acted for this customer."""
        return f"{ERASED}{digest(self.key, self.origin_id, actor)[:ACTOR_DIGITS]}"


def key_of(table: Table) -> Column[Any]:
    """Return the column that identifies a table's rows within an environment."""
    if table is received_events:
        return received_events.c.event_id
    return completions.c.activation_token_sha256 if table is completions else table.c.id


def marked(customer: Customer) -> Select[Any]:
    """Select the ids of the integrations that are marked as erased with this customer."""
    return select(erased_integrations.c.integration_id).where(
        erased_integrations.c.environment == customer.environment,
        erased_integrations.c.origin_digest == customer.digest,
    )


def named(table: Table, customer: Customer) -> Select[Any]:
    """Select the ids of integrations that a table's rows name together with this customer.

    Not those that are recorded for a customer: for another one, whom a body may name, too, or for this one,
    since the erasure began.
    """
    if table is integrations:
        return select(integrations.c.integration_id).where(_is_origin(integrations, customer))
    return (
        select(table.c.integration_id)
        .where(_is_origin(table, customer), table.c.integration_id.is_not(None), ~_has_owner(table, customer))
        .distinct()
    )


def every_named(customer: Customer) -> Select[Any]:
    """Select the ids of all integrations that are this customer's."""
    parts = [named(table, customer) for table in (integrations, *NAMING_INTEGRATIONS)]
    return select(union(marked(customer), *parts).subquery().c[0])


def _has_owner(table: Table, customer: Customer) -> ColumnElement[bool]:
    owner = integrations.alias("owner")
    return exists().where(
        owner.c.environment == customer.environment,
        owner.c.integration_id == table.c.integration_id,
        owner.c.origin_id.is_not(None),
    )


def is_theirs(table: Table, customer: Customer, integration_ids: Collection[str]) -> ColumnElement[bool]:
    """Return the condition that a row is this customer's, if these are their integrations.

    What they have connected again since the erasure began is not among these integrations, and stays. The ids
    are values, not a query, so that databases look both columns up in their indexes.
    """
    ours = table.c.environment == customer.environment
    if table is minted_links:
        return and_(ours, table.c.origin_id == customer.origin_id)
    by_integration = table.c.integration_id.in_(integration_ids)
    if table in (integrations, completions):
        return and_(ours, by_integration)
    again = integrations.alias("again")
    is_connected_again = exists().where(
        again.c.environment == customer.environment,
        again.c.integration_id == table.c.integration_id,
        again.c.origin_id == customer.origin_id,
        again.c.integration_id.not_in(integration_ids),
    )
    condition = or_(by_integration, and_(table.c.origin_id == customer.origin_id, ~is_connected_again))
    if table is audit:
        condition = and_(condition, table.c.origin_id.is_distinct_from(customer.pseudonym))
    return and_(ours, condition)


def names_customer(body: str, customer: Customer, integration_ids: Collection[str]) -> bool:
    """Return whether a body has this origin id under a key of Kombo's, or one of these ids anywhere."""
    texts = (json.dumps(text) for text in (customer.origin_id, *integration_ids))
    if not any(text in body for text in texts):
        return False
    return _names(json.loads(body), customer.origin_id, integration_ids)


def _names(value: object, origin_id: str, integration_ids: Collection[str]) -> bool:
    if isinstance(value, dict):
        by_key = any(value.get(key) == origin_id for key in ORIGIN_ID_KEYS)
        return by_key or any(_names(one, origin_id, integration_ids) for one in value.values())
    if isinstance(value, list):
        return any(_names(one, origin_id, integration_ids) for one in value)
    return isinstance(value, str) and value in integration_ids


def _is_origin(table: Table, customer: Customer) -> ColumnElement[bool]:
    return and_(table.c.environment == customer.environment, table.c.origin_id == customer.origin_id)
