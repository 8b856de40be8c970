"""Event handlers, and what crosses between the outbox and the dispatcher: the Protocol and its values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from kombo_embed.integration import Event

EventHandler = Callable[[Event], Awaitable[object] | object]

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


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery of one event to one handler, leased by this process.

    ``attempts`` counts this one too. Of the earlier ones, ``failures`` ended with a failing handler and the
    others with the death of their process. ``lease_owner`` is another one for each lease. ``lane`` is Kombo's
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
