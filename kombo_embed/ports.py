"""The sockets: what may be brought by the host or by a test, and what whoever brings it must hold to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from starlette.requests import HTTPConnection

from kombo_embed.models import (
    Completion,
    ConnectionLink,
    Delivery,
    EndUser,
    Event,
    Integration,
    LinkDrop,
    LinkKey,
    LinkOptions,
    LinkType,
    Outcome,
)
from kombo_embed.reports import IntegrationDetails, Report, ReportedIntegration, WebhookEvent

if TYPE_CHECKING:
    import httpx

EndUserCallable = Callable[[HTTPConnection], Awaitable[EndUser | None] | EndUser | None]
LinkOptionsCallable = Callable[[HTTPConnection, EndUser], Awaitable[LinkOptions] | LinkOptions]
EventHandler = Callable[[Event], Awaitable[object] | object]


class Clock(Protocol):
    """Where time comes from. The standard library's module ``time`` is one, but for sleeping machines."""

    def time(self) -> float:
        """Seconds since the epoch (UTC)."""

    def monotonic(self) -> float:
        """Seconds on a clock that is never set back, and that SHOULD go on while the machine sleeps."""


class EndUserResolver(Protocol):
    """Who is asking."""

    async def __call__(self, connection: HTTPConnection) -> EndUser | None:
        """The signed-in end user, or None where nobody is signed in.

        Raises:
            Unauthenticated: What should prove it does not.
            IdentityError: The host's code failed, or gave half an identity.
            IdentityUnavailable: It cannot be verified at the moment.
        """


class RateLimiter(Protocol):
    """How often each end user may do one thing."""

    async def spend(self, end_user: EndUser) -> None:
        """Count once more for this end user.

        Raises:
            RateLimited: It was done too often; nothing was counted.
        """


class MintTurn(Protocol):
    """The right to mint the link of one key, until the context that gave it ends."""

    @property
    def found(self) -> ConnectionLink | None:
        """What somebody else minted while this turn was waited for: then there is nothing left to mint."""

    async def keep(self, link: ConnectionLink) -> bool:
        """Keep the link; False, keeping nothing, if its origin id was dropped while it was minted.

        After False the turn goes on, and counts drops from now on.
        """


class LinkCache(Protocol):
    """Where links wait until their hour is over.

    An implementation MUST NOT return a link past its deadline, or one whose turn began before the last `drop`
    of its origin id; it MUST be bounded; and it MUST NOT fail: where it cannot remember, it forgets.
    """

    async def get(self, key: LinkKey) -> ConnectionLink | None:
        """The link kept for this key, if it is still valid."""

    def turn(self, key: LinkKey, *, fresh: bool) -> AbstractAsyncContextManager[MintTurn]:
        """Wait for the turn to mint this key's link; to be asked for before Kombo is.

        A process asks for one turn per key at a time. An implementation that several processes share SHOULD
        give the turn to one of them at a time, the others waiting for what that one mints; it raises to those
        that wait the `KomboError` that leaves the context. With ``fresh``, a link that was kept before this
        call is not what was waited for.
        """

    async def drop(self, environment: str, drop: LinkDrop) -> None:
        """Forget all links of an origin id, also those that are being minted at this moment.

        It may be told more than once of the same drop.
        """


class Outbox(Protocol):
    """Where events for the host wait, written in the transaction of what they tell of.

    An event taken MUST be held by nobody else until its lease ends, and per integration events MUST be given
    out in the order in which they were written. ``now`` is by the caller's clock: where machines share
    an outbox, its leases MUST end by a clock that is one for all. All methods raise `StoreUnavailable`.
    """

    async def take(
        self, types: Sequence[str], *, limit: int, now: datetime, lease_seconds: float
    ) -> list[Delivery]:
        """Take up to ``limit`` events of these types that are due and that nobody else has."""

    async def renew(self, deliveries: Sequence[Delivery], *, now: datetime, lease_seconds: float) -> None:
        """Keep events while their handlers still run, and note which of these are done."""

    async def save(self, outcomes: Sequence[Outcome], *, now: datetime) -> None:
        """Note what became of events, in one transaction; what another holds now is left alone."""

    async def defer(self, delivery: Delivery, *, due_at: datetime) -> None:
        """Should this process die with the event, give it out no earlier than this."""

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """Let go of events that were not finished, as if the handlers that are not done were never called."""


class Store(Protocol):
    """Where integrations stay. What a method returned from MUST be on disk.

    All methods raise `StoreUnavailable` when the database cannot be used.
    """

    @property
    def outbox(self) -> Outbox:
        """The events that this store's own changes make."""

    async def open(self) -> None:
        """Make ready; on SQLite, bring the tables to this version."""

    async def close(self) -> None:
        """Give everything back."""

    async def check(self) -> None:
        """Return if the database can be read."""

    async def save_link_minted(
        self, key: LinkKey, expires_in: float, *, link_type: LinkType = "EMBEDDED"
    ) -> None:
        """Remember that a link was minted: for whom, for what, until when. Never the link itself."""

    async def save_completion(
        self, reported: ReportedIntegration, *, activation_token: str, recorded_for: str
    ) -> Completion | None:
        """Record what Kombo says of an integration, under this origin id, once; None if it is deleted."""

    async def find_completed(self, activation_token: str) -> Integration | None:
        """The integration that this activation token was exchanged for already, if it was."""

    async def has_minted_for(self, origin_id: str) -> bool:
        """Whether a link was ever minted here for this origin id."""

    async def save_event(self, event: WebhookEvent, report: Report | None) -> str | None:
        """Keep a received event, once, and what it tells; the origin id whose links it ends."""

    async def save_malformed_event(self, body: bytes, *, reason: str) -> None:
        """Keep a signed body that is no event, for people to look at; once, however often it comes."""

    async def save_deleted(
        self, integration: Integration, *, unless_changed_since: datetime | None = None
    ) -> None:
        """Mark an integration as deleted; it stays so, whatever is told of it later."""

    async def save_details(
        self, details: IntegrationDetails, *, states_unless_changed_since: datetime
    ) -> Integration | None:
        """Take over what Kombo says of an integration now; the record if that changed it.

        Where the record changed since the given moment, its status and setup status are left alone.
        """

    async def find_drops(self, *, after: int) -> list[LinkDrop]:
        """What ended links, of the last hour at least, with row ids after this one, in their order.

        Each transaction that ends links MUST write one, so that other processes learn of it.
        """

    async def prune_drops(self, *, before: datetime) -> None:
        """Forget the drops that were written before this moment: no link is as old any more."""

    async def find_integrations(self, origin_id: str) -> list[Integration]:
        """The origin id's integrations, oldest first."""

    async def find_integration(self, integration_id: str) -> Integration | None:
        """One integration, by Kombo's id."""

    async def find_public(self, public_id: str, origin_id: str) -> Integration | None:
        """One integration, by our public id, if it is this origin id's."""

    async def find_known(self, *, after: str, limit: int) -> list[Integration]:
        """The next integrations that are not deleted, by Kombo's ids; ``""`` is before the first."""

    async def settle_ended_links(self, *, limit: int) -> int:
        """Tell of each link that ended and led to nothing, once over all processes; how many those were."""

    async def prune(self, *, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` rows of each kind that are older and not needed; how many those were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaborators:
    """What the host or a test brought; None is: choose by the settings.

    ``end_user_elsewhere`` is whether a router of the host's asks who is signed in.
    """

    end_user: EndUserCallable | None = None
    end_user_elsewhere: bool = False
    link_options: LinkOptionsCallable | None = None
    http_transport: httpx.AsyncBaseTransport | None = None
    clock: Clock | None = None
    store: Store | None = None
    link_cache: LinkCache | None = None
