"""Event handlers, and what crosses between the outbox and the dispatcher: the Protocol and its values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol, TypeVar, overload

from kombo_embed.event import (
    EVENT_CLASSES,
    Event,
    FlowAbandoned,
    FlowFailed,
    IntegrationConnected,
    IntegrationDeleted,
    IntegrationDuplicate,
    IntegrationUpdated,
    KomboEvent,
)

EventHandler = Callable[[Any], object]  # of an event; it may be async

# One per type, because a decorator returns the very handler that it is given: it may be decorated again.
Connected = TypeVar("Connected", bound=Callable[[IntegrationConnected], object])
Updated = TypeVar("Updated", bound=Callable[[IntegrationUpdated], object])
Deleted = TypeVar("Deleted", bound=Callable[[IntegrationDeleted], object])
Duplicate = TypeVar("Duplicate", bound=Callable[[IntegrationDuplicate], object])
Failed = TypeVar("Failed", bound=Callable[[FlowFailed], object])
Abandoned = TypeVar("Abandoned", bound=Callable[[FlowAbandoned], object])
Other = TypeVar("Other", bound=Callable[[KomboEvent], object])
Every = TypeVar("Every", bound=Callable[[Event], object])

NAME_MAX_LENGTH = 255
MISSING_SECONDS = 24 * 3600.0  # after which a handler that no process has is missing


class EventHandlers:
    """The host's handlers by event type and name. Handlers may be added at any time."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[str, str], EventHandler] = {}

    def add(self, event_type: str, handler: EventHandler, *, name: str | None = None) -> None:
        """Add a handler under this name, by default its module and qualified name.

        Several handlers of one type that have the same default name are numbered in the order of their
        registration. Raises `ValueError` if the name is not usable, or another handler of the type has it.
        """
        if name is None:
            name = self._default_name(event_type, handler)
        elif not name.isprintable() or not 0 < len(name) <= NAME_MAX_LENGTH or name.strip() != name:
            raise ValueError(f"{name!r} is not a name: use 1 to {NAME_MAX_LENGTH} printable characters")
        elif (event_type, name) in self._by_key:
            raise ValueError(f"another handler of {event_type} is named {name!r}: names are unique per type")
        self._by_key[event_type, name] = handler

    def find(self, name: str, event_type: str) -> EventHandler | None:
        """Return the handler of this name for this type; None if there is none."""
        return self._by_key.get((event_type, name))

    def types_by_name(self) -> dict[str, tuple[str, ...]]:
        """Return each name with the types that it handles."""
        names: dict[str, tuple[str, ...]] = {}
        for event_type, name in sorted(self._by_key):
            names[name] = (*names.get(name, ()), event_type)
        return names

    def _default_name(self, event_type: str, handler: EventHandler) -> str:
        module = getattr(handler, "__module__", "")
        name = f"{module}.{getattr(handler, '__qualname__', type(handler).__qualname__)}"[:NAME_MAX_LENGTH]
        number, unique = 1, name
        while (event_type, unique) in self._by_key:
            number += 1
            unique = f"{name[: NAME_MAX_LENGTH - 6]}#{number}"
        return unique


class HandlerRegistration:
    """Registers the host's event handlers."""

    def __init__(self) -> None:
        self._handlers = EventHandlers()

    @overload
    def on(
        self, event_type: Literal["integration.connected"], *, name: str | None = None
    ) -> Callable[[Connected], Connected]: ...
    @overload
    def on(
        self, event_type: Literal["integration.updated"], *, name: str | None = None
    ) -> Callable[[Updated], Updated]: ...
    @overload
    def on(
        self, event_type: Literal["integration.deleted"], *, name: str | None = None
    ) -> Callable[[Deleted], Deleted]: ...
    @overload
    def on(
        self, event_type: Literal["integration.duplicate"], *, name: str | None = None
    ) -> Callable[[Duplicate], Duplicate]: ...
    @overload
    def on(
        self, event_type: Literal["flow.failed"], *, name: str | None = None
    ) -> Callable[[Failed], Failed]: ...
    @overload
    def on(
        self, event_type: Literal["flow.abandoned"], *, name: str | None = None
    ) -> Callable[[Abandoned], Abandoned]: ...
    @overload
    def on(
        self, event_type: Literal["kombo.event"], *, name: str | None = None
    ) -> Callable[[Other], Other]: ...
    @overload
    def on(self, event_type: str, *, name: str | None = None) -> Callable[[Every], Every]: ...

    def on(self, event_type: str, *, name: str | None = None) -> Callable[[EventHandler], EventHandler]:
        """Register an async or plain handler for an event; use it as a decorator.

        A handler is called at least once per event, after the change that the event reports is on disk, in
        order per integration. If it raises, it is called again with increasing delays.

        Events wait in the database for the handler of this ``name``, by default its module and qualified
        name. Pass a name to be free to rename the function. A handler of several types has them in one order.

        Raises:
            ValueError: ``event_type`` is not an event type, or another handler of this type has the name.
        """
        if event_type not in EVENT_CLASSES:
            raise ValueError(f"{event_type!r} is not an event type; use one of {', '.join(EVENT_CLASSES)}")

        def register(handler: EventHandler) -> EventHandler:
            self._handlers.add(event_type, handler, name=name)
            return handler

        return register


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery of one event to one handler, leased by this process.

    ``attempts`` counts this one too. Of the earlier ones, ``failures`` ended with a failing handler and the
    others with the death of their process.
    ``last_error`` is the last failure's. ``lease_owner`` is another one for each lease. ``lane`` is Kombo's
    id of the integration: the deliveries of one handler and lane are made one after another, in order.
    """

    row_id: int
    event_row_id: int
    handler: str
    lane: str | None
    event: Event
    attempts: int
    failures: int
    lease_owner: str
    last_error: str | None = None
    trace_context: str | None = None  # of what wrote the event


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """The result of one delivery.

    Without ``error`` and ``retry_seconds`` the event was delivered. With ``retry_seconds`` it is delivered
    again after that time; if it has no ``error``, it was postponed, which does not count as a failure. With
    ``error`` alone it is a dead letter, which is delivered again only by a replay. ``successor`` is the next
    delivery of the lane, which this process makes under the same lease.
    """

    delivery: Delivery
    error: str | None = None
    retry_seconds: float | None = None
    successor: Delivery | None = None

    @property
    def is_dead(self) -> bool:
        """Return whether it became a dead letter."""
        return self.error is not None and self.retry_seconds is None


class Outbox(Protocol):
    """Deliveries of events to handlers. All methods raise `StoreUnavailable`.

    A delivery has one lease at a time. The deliveries of one handler and lane are leased in the order in
    which their events were written.
    """

    async def take(
        self, slots: Mapping[str, int], *, now: datetime, lease_seconds: float
    ) -> list[list[Delivery]]:
        """Lease due deliveries of these handlers, up to so many lanes of each; return them by lane."""

    async def renew(self, deliveries: Iterable[Delivery], *, now: datetime, lease_seconds: float) -> None:
        """Extend leases while handlers run."""

    async def save(
        self, outcomes: Sequence[DeliveryOutcome], *, now: datetime, lease_seconds: float
    ) -> list[DeliveryOutcome]:
        """Save outcomes in one transaction; return those to save later, since their lane is being written to.

        Outcomes whose lease was lost meanwhile are skipped. ``lease_seconds`` is for their successors.
        """

    async def defer(self, delivery: Delivery, *, now: datetime, seconds: float) -> None:
        """Set the time until redelivery for the case that this process dies while handling the event."""

    async def release(self, deliveries: Iterable[Delivery], *, now: datetime) -> None:
        """Return unfinished deliveries without counting the attempt."""

    async def register(self, types_by_name: Mapping[str, Sequence[str]], *, now: datetime) -> dict[str, int]:
        """Record that a process has these handlers; return how many parked deliveries wait for each name."""

    async def find_missing(
        self, own: Iterable[str], *, now: datetime, seconds: float
    ) -> list[tuple[str, str]]:
        """Return the names and types of handlers that no process registered for so long, except its own."""

    async def park(self, name: str, event_type: str, *, now: datetime) -> int:
        """Park up to a batch of a missing handler's deliveries; return how many were parked."""

    async def ready_lanes(self, *, now: datetime) -> int:
        """Look at the next few hundred lanes and make a delivery due where none is; return how many."""
