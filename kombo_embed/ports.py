"""Protocols between the rooms, and the values that cross them.

A host may implement `Clock`, `LinkCache` and the callables itself. `InvalidationLog` and `RateLimiter` exist
because the rooms that use them must not import those that implement them. `kombo_embed.core.records` has the
Protocols of the database.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from starlette.requests import HTTPConnection

from kombo_embed.integration import Integration
from kombo_embed.models import CacheKey, ConnectionLink, EndUser, LinkOptions

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


def utc_now(clock: Clock) -> datetime:
    """Return a clock's time as an aware datetime."""
    return datetime.fromtimestamp(clock.time(), UTC)


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
