"""The events of `KomboEmbed.on`, one class per type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypedDict

from kombo_embed.integration import Integration

FieldChange = TypedDict("FieldChange", {"from": str | None, "to": str | None})


class UpdatedData(TypedDict):
    """The data of `IntegrationUpdated`."""

    changes: dict[str, FieldChange]


class DuplicateData(TypedDict):
    """The data of `IntegrationDuplicate`."""

    integration_ids: list[str]
    public_ids: list[str]
    count: int


class FailedFlowData(TypedDict):
    """The data of `FlowFailed`."""

    tool: str | None
    category: str | None
    log_url: str | None


class AbandonedFlowData(TypedDict):
    """The data of `FlowAbandoned`. The times are RFC 3339."""

    tool: str | None
    category: str | None
    language: str
    minted_at: str
    expires_at: str


class KomboEventData(TypedDict):
    """The data of `KomboEvent`: Kombo's own event as received."""

    id: str
    type: str
    data: dict[str, object]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for the handlers of `KomboEmbed.on`. Each type has a class of its own.

    Attributes:
        id: Unique, and the same on every delivery: handlers are called at least once.
        type: For example ``integration.connected``.
        occurred_at: When it was recorded here (UTC).
        origin_id: Your customer's id; None if Kombo names none.
        integration: The record at that time; None for events without an integration.
        data: More about it, depending on the type; see the type's class.
        actor: The email of the end user who caused it; None if none did, or Kombo does not name one.
    """

    id: str
    type: str
    occurred_at: datetime
    origin_id: str | None
    integration: Integration | None
    data: Mapping[str, object] = field(repr=False, default_factory=dict[str, object])
    actor: str | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class IntegrationConnected(Event):
    """An integration was recorded, once. ``data`` is empty."""

    type: Literal["integration.connected"]
    integration: Integration


@dataclass(frozen=True, slots=True)
class IntegrationUpdated(Event):
    """An integration changed. ``data["changes"]`` has each changed field, ``{"from": …, "to": …}``."""

    type: Literal["integration.updated"]
    integration: Integration
    data: UpdatedData = field(repr=False)


@dataclass(frozen=True, slots=True)
class IntegrationDeleted(Event):
    """An integration was deleted, here or at Kombo; ``integration`` is its last record. ``data`` is empty."""

    type: Literal["integration.deleted"]
    integration: Integration


@dataclass(frozen=True, slots=True)
class IntegrationDuplicate(Event):
    """A customer connected a tool again; ``integration`` is the newer one.

    ``data`` has the ``integration_ids`` (Kombo's) and ``public_ids`` of the duplicates, at most the ten
    oldest, and ``count``, how many there are with this one.
    """

    type: Literal["integration.duplicate"]
    integration: Integration
    data: DuplicateData = field(repr=False)


@dataclass(frozen=True, slots=True)
class FlowFailed(Event):
    """An attempt failed in a flow, which may still succeed. ``data`` has Kombo's ``log_url``."""

    type: Literal["flow.failed"]
    integration: None
    data: FailedFlowData = field(repr=False)


@dataclass(frozen=True, slots=True)
class FlowAbandoned(Event):
    """A link expired and nothing was connected. ``data`` describes the link; ``actor`` is its end user."""

    type: Literal["flow.abandoned"]
    integration: None
    data: AbandonedFlowData = field(repr=False)


@dataclass(frozen=True, slots=True)
class KomboEvent(Event):
    """Kombo sent any other event: ``data``, as received. ``integration`` is the one that it names, if any."""

    type: Literal["kombo.event"]
    data: KomboEventData = field(repr=False)


EVENT_CLASSES: dict[str, type[Event]] = {
    "integration.connected": IntegrationConnected,
    "integration.updated": IntegrationUpdated,
    "integration.deleted": IntegrationDeleted,
    "integration.duplicate": IntegrationDuplicate,
    "flow.failed": FlowFailed,
    "flow.abandoned": FlowAbandoned,
    "kombo.event": KomboEvent,
}
EVENT_TYPES = tuple(EVENT_CLASSES)
ABOUT_AN_INTEGRATION = {name for name in EVENT_CLASSES if name.startswith("integration.")}
