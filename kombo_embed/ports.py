"""Protocols between the rooms, and the values that cross them.

A host may implement `Clock`, `LinkCache` and the callables itself. `RecordStore`, `DetailsQueue`,
`InvalidationLog` and `RateLimiter` exist because the core must not import the rooms that implement them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from starlette.requests import HTTPConnection

from kombo_embed.integration import Completion, Integration, IntegrationPage, IntegrationQuery
from kombo_embed.models import CacheKey, ConnectionLink, EndUser, LinkOptions, LinkType
from kombo_embed.upstream import IntegrationDetails, Report, ReportedIntegration, WebhookEvent

if TYPE_CHECKING:
    import httpx

EndUserCallable = Callable[[HTTPConnection], Awaitable[EndUser | None] | EndUser | None]
LinkOptionsCallable = Callable[[HTTPConnection, EndUser], Awaitable[LinkOptions] | LinkOptions]


class Clock(Protocol):
    """A source of time. The standard library's module ``time`` is one, except on machines that sleep."""

    def time(self) -> float:
        """Return seconds since the epoch (UTC)."""

    def monotonic(self) -> float:
        """Return seconds on a clock that is never set back and SHOULD continue while the machine sleeps."""


class EndUserResolver(Protocol):
    """Finds the signed-in end user of a request."""

    async def __call__(self, connection: HTTPConnection) -> EndUser | None:
        """Return the signed-in end user, or None if the request is not signed in.

        Raises `Unauthenticated`, `IdentityError` or `IdentityUnavailable`.
        """


class RateLimiter(Protocol):
    """Limits how often each end user may do one thing."""

    async def spend(self, end_user: EndUser) -> None:
        """Count one more hit of this end user; raise `RateLimited`, counting nothing, at the limit."""

    async def check(self, end_user: EndUser) -> None:
        """Raise `RateLimited` if `spend` would; count nothing."""


@dataclass(frozen=True, slots=True)
class CoolDown:
    """A wait that Kombo asked for, from now. ``rate_limited``: the cause is its rate limit, not an outage."""

    seconds: float
    rate_limited: bool


@dataclass(frozen=True, slots=True)
class Invalidation:
    """One invalidation of an origin id's links: a database row that every process applies to its cache.

    ``row_id`` is 0 where it is not known. ``invalidation_id`` is random. ``only_lists``: the row concerns
    lists of integrations, and no links.
    """

    row_id: int
    invalidation_id: str
    origin_id: str
    only_lists: bool = False


@dataclass(frozen=True, slots=True)
class InvalidationPage:
    """Some of the rows in order: the ids of all, and the invalidations of this environment."""

    row_ids: list[int]
    invalidations: list[Invalidation]


class MintLease(Protocol):
    """The right to mint the link of one cache key, until the context that gave it exits."""

    @property
    def link(self) -> ConnectionLink | None:
        """Return the link that another caller minted while this one waited; then no mint is needed."""

    async def put(self, link: ConnectionLink) -> bool:
        """Cache the link; return False, caching nothing, if its origin id was invalidated during the mint.

        After False the lease continues and watches for invalidations from then on.
        """


class LinkCache(Protocol):
    """A cache of connection links.

    An implementation MUST NOT return a link past its deadline, or one whose lease began before the last
    `invalidate` of its origin id; it MUST be bounded; and it MUST NOT raise: if its backend fails, it misses.
    """

    async def get(self, key: CacheKey) -> ConnectionLink | None:
        """Return the cached link of this key if it is still valid."""

    def lease(self, key: CacheKey, *, fresh: bool) -> AbstractAsyncContextManager[MintLease]:
        """Wait for the lease to mint this key's link, before Kombo is called.

        A process requests one lease per key at a time. A shared cache SHOULD give it to one process at a
        time; the others wait for its link, or for the `KomboError` that leaves its context. With ``fresh``, a
        link that was cached before this call does not satisfy the wait.
        """

    async def invalidate(self, environment: str, invalidation: Invalidation) -> None:
        """Invalidate all links of an origin id, those being minted included.

        The same invalidation may be applied more than once.
        """


@dataclass(frozen=True, slots=True)
class ClosedLinks:
    """Expired links that were closed, and how many of them had no completion.

    ``next_expires_at`` is when the next link expires, if one is known and not closed yet.
    """

    closed: int = 0
    abandoned: int = 0
    next_expires_at: datetime | None = None


class InvalidationLog(Protocol):
    """The invalidations in the database, of the last hour at least. All methods raise `StoreUnavailable`.

    A row may become visible after at most ``late_rows`` rows with greater ids.
    """

    late_rows: int

    async def find_position(self) -> int:
        """Return a row id up to which every row is visible, or never will be."""

    async def find(self, *, after: int, limit: int) -> InvalidationPage:
        """Return the first rows with ids after this one, in order."""

    async def find_late(self, row_ids: Sequence[int]) -> InvalidationPage:
        """Return those of these rows that are visible."""

    async def prune(self, *, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` invalidations, of any environment, written before this time.

        Return how many were deleted.
        """


@dataclass(frozen=True, slots=True)
class ErasurePosition:
    """Where an erasure continues: the part, and the last key that the part has looked at."""

    part: int = 0
    after: str | int = ""


@dataclass(frozen=True, slots=True)
class ErasureBatch:
    """What a batch removed, in rows per table, and where the next one begins; None if it was the last."""

    rows: dict[str, int]
    next: ErasurePosition | None


class ErasureStore(Protocol):
    """The database of an erasure, in short transactions that can be repeated. Raises `StoreUnavailable`."""

    async def is_erased(self, origin_id: str) -> bool:
        """Return whether an origin id is marked as erased."""

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
    """The database as the core sees it, without SQL. When a method returns, its changes are on disk.

    What they invalidate in this process is invalidated then, too.
    All methods raise `StoreUnavailable` if the database cannot be used.
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
        self, event: WebhookEvent, report: Report | None, *, created_at: datetime | None = None
    ) -> None:
        """Record a webhook event once, and its report.

        Nothing about an erased customer is recorded, unless Kombo created the integration after the erasure.
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


@dataclass(frozen=True, slots=True)
class DetailsJob:
    """An integration whose details this process reads until its lease ends.

    ``attempts`` counts this one too; ``not_found`` counts those that ended with 404.
    """

    integration: Integration
    attempts: int
    not_found: int
    lease_ends_at: datetime


@dataclass(frozen=True, slots=True)
class DueDetails:
    """The details to read now, and in how many seconds the next ones are due, if any are known."""

    jobs: list[DetailsJob]
    next_in_seconds: float | None


@dataclass(frozen=True, slots=True)
class DueChecks:
    """Integrations to compare with Kombo, the oldest check first, and when the next one is due."""

    integrations: list[Integration]
    next_at: datetime | None


class DetailsQueue(Protocol):
    """What has to be read from Kombo. All methods raise `StoreUnavailable`."""

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


class CountChanges(Protocol):
    """What is to be counted again."""

    @property
    def has_more(self) -> bool:
        """Return whether there is more than one fold should count."""


class RollupStore(Protocol):
    """The counts for the console. All methods raise `StoreUnavailable`."""

    async def find_changes(self) -> CountChanges | None:
        """Look for facts that are not counted yet; return None if there are none."""

    async def add(self, metric: str, numbers: Mapping[str, int]) -> None:
        """Add to the counts of this hour, one for each reason."""

    async def fold(self, changes: Any) -> None:  # noqa: ANN401 - what `find_changes` of the same object returned
        """Count again what changed, and replace the counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaborators:
    """What the host or a test supplies; None leaves the choice to the settings.

    ``end_user_from_router`` is whether a router of the host's resolves the end user. Without ``background``,
    nothing runs but requests: for a console beside the running app.
    """

    end_user: EndUserCallable | None = None
    end_user_from_router: bool = False
    background: bool = True
    link_options: LinkOptionsCallable | None = None
    http_transport: httpx.AsyncBaseTransport | None = None
    clock: Clock | None = None
    link_cache: LinkCache | None = None
