"""The database as the core sees it, without SQL. `kombo_embed.store` implements the Protocols.

When a method returns, its changes are on disk. All methods raise `StoreUnavailable` if the database cannot be
used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from kombo_embed.integration import Completion, Integration, IntegrationPage, IntegrationQuery
from kombo_embed.models import CacheKey, LinkType
from kombo_embed.ports import ClosedLinks, DetailsJob, DueChecks, DueDetails, ErasureBatch, ErasurePosition
from kombo_embed.upstream import (
    ImportLine,
    IntegrationDetails,
    Recorded,
    Report,
    ReportedIntegration,
    WebhookEvent,
)


class ErasureStore(Protocol):
    """The database of an erasure, in short transactions that can be repeated."""

    async def begin(self, origin_id: str, *, actor: str | None) -> Sequence[str]:
        """Mark a customer as erased; return the ids of all integrations that were ever erased with them."""

    async def run_batch(self, origin_id: str, position: ErasurePosition, *, limit: int) -> ErasureBatch:
        """Remove up to ``limit`` rows of the customer that `begin` marked."""

    async def finish(self, origin_id: str) -> dict[str, int]:
        """Remove the invalidations of the customer's links, once every process has applied them."""

    async def count(self, origin_id: str) -> dict[str, int]:
        """Count what an erasure would remove, as far as columns attribute it."""

    async def count_in_bodies(self, origin_id: str, position: ErasurePosition, *, limit: int) -> ErasureBatch:
        """Count what an erasure would remove since its body names the customer, in one batch of bodies."""


class RecordStore(Protocol):
    """Integrations, minted links and received events.

    What a change invalidates in this process is invalidated when its method returns, too.
    """

    @property
    def erasures(self) -> ErasureStore:
        """Return the part that erases customers."""

    async def save_minted_link(
        self,
        key: CacheKey,
        lifetime_seconds: float,
        *,
        link_type: LinkType = "EMBEDDED",
        watch: bool = True,
        actor: str | None = None,
    ) -> int:
        """Record that a link was minted, for whom and for what, without the link; return the row's id.

        ``actor`` is who has a magic link minted, for the audit trail.
        """

    async def save_link_handed_out(self, row_id: int) -> None:
        """Record that a browser got a link that was only prefetched before."""

    async def save_completion(
        self,
        reported: ReportedIntegration,
        *,
        activation_token: str,
        origin_id: str,
        actor: str | None = None,
        by_owner: bool = True,
    ) -> Completion | None:
        """Record an integration under this origin id, once; None if it was deleted or erased before.

        ``actor`` is the email of the end user who completed the flow. With ``by_owner``, they belong to the
        origin id, which lifts the marks of an erasure.
        """

    async def find_completion(self, activation_token: str) -> Integration | None:
        """Return the integration that this activation token was exchanged for earlier."""

    async def has_minted_link(self, origin_id: str) -> bool:
        """Return whether a link was ever minted here for this origin id."""

    async def save_event(
        self,
        event: WebhookEvent,
        report: Report | None,
        *,
        created_at: datetime | None = None,
        unless_erased: bool = False,
    ) -> bool:
        """Record a webhook event once, and its report.

        Of an event about an erased customer only the id is recorded, unless Kombo created the integration
        after the erasure, at ``created_at``. With ``unless_erased``, nothing is, and the result is False.
        """

    async def save_malformed_event(self, body: bytes, *, reason: str) -> None:
        """Record a signed body that cannot be parsed, once per distinct body."""

    async def save_deleted(
        self,
        integration: Integration,
        *,
        unless_changed_since: datetime | None = None,
        actor: str | None = None,
    ) -> None:
        """Mark an integration as deleted, for good. ``actor`` is the email of the end user who did it."""

    async def save_details(
        self, details: IntegrationDetails, *, states_unless_changed_since: datetime
    ) -> Integration | None:
        """Merge Kombo's current details; return the record if that changed it.

        If the record changed since the given time, its status and setup status are not touched.
        """

    async def find_integrations(self, origin_id: str) -> list[Integration]:
        """Return the origin id's integrations, oldest first."""

    async def list_integrations(self, origin_id: str, query: IntegrationQuery) -> IntegrationPage | None:
        """Return a page of the origin id's integrations; None if no page of theirs had the cursor."""

    async def find_connected(self, origin_id: str, *, tool: str, category: str) -> Integration | None:
        """Return the integration that connects a tool already, one to reconnect first, else the oldest.

        One of an unknown category counts if there is none of this category.
        """

    async def connected_tools(self, origin_id: str, category: str) -> set[str]:
        """Return the tools that an origin id has connected in a category, or in an unknown one."""

    async def find_integration(self, integration_id: str) -> Integration | None:
        """Return one integration by Kombo's id."""

    async def find_public(self, public_id: str, origin_id: str) -> Integration | None:
        """Return one integration by its public id if it belongs to this origin id."""

    async def list_integrations_after(self, integration_id: str, *, limit: int) -> list[Integration]:
        """Return the next page of all integrations, ordered by Kombo's id; ``""`` starts at the first."""

    async def close_expired_links(self, *, limit: int) -> ClosedLinks:
        """Close up to ``limit`` expired links; write `flow.abandoned` for those without a completion."""

    async def prune(self, *, before: datetime, audit_before: datetime, limit: int) -> int:
        """Delete up to ``limit`` old rows of each kind; return how many were deleted."""


class DetailsQueue(Protocol):
    """What has to be read from Kombo."""

    async def take(self, *, limit: int, lease_seconds: float) -> DueDetails:
        """Lease up to ``limit`` integrations whose details are due, each to one process."""

    async def postpone(self, job: DetailsJob, *, seconds: float | None, not_found: int) -> None:
        """Make the details due again after this time; with None, never.

        Do nothing if the lease has ended and another process has leased them, or if they were read meanwhile.
        """

    async def find_checks(self, *, before: datetime, limit: int) -> DueChecks:
        """Return integrations that were last read from Kombo at this time or before, or never."""

    async def save_checked(self, integration: Integration) -> None:
        """Record that Kombo was asked for an integration now."""

    async def take_lease(self, name: str, *, seconds: float) -> bool:
        """Take a lease that no other process holds, or extend the own one; return whether it is held now."""


class RollupStore(Protocol):
    """The counts for the console. All methods raise `StoreUnavailable`."""

    async def has_changes(self) -> bool:
        """Return whether there may be facts that are not counted yet."""

    async def fold(self) -> bool:
        """Count again what changed, and replace the counts; return whether there is more to count."""

    async def add(self, metric: str, numbers: Mapping[str, int]) -> None:
        """Add to the counts of this hour, one for each reason."""


class ImportStore(Protocol):
    """Records imported integrations; see `kombo_embed.store.imports`."""

    async def save(self, line: ImportLine, details: IntegrationDetails, *, actor: str) -> Recorded:
        """Record an integration, or what is new about it; raise `Refused` if it may not be recorded."""

    async def preview(self, line: ImportLine, details: IntegrationDetails) -> Recorded:
        """Return what `save` would do, or raise as it does; change nothing."""
