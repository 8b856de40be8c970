"""Integrations and their events, as the host sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypedDict

# The problem of an integration whose details Kombo does not find, so often that they are not read any more.
DETAILS_NOT_FOUND, DETAILS_NOT_FOUND_MAX = "details_not_found", 10
ALL_NOT_FOUND = "all_not_found"  # why reconciliation did not delete an integration that Kombo does not know
ACTION_BY_STATUS = {"INACTIVE": "enable", "INVALID": "reconnect"}
ACTION_BY_SETUP_STATUS = {
    "INCOMPLETE": "finish_setup",
    "FINAL_SYNC_PENDING": "wait_for_sync",
    None: "pending",
}
# The first one that applies is the next action.
NEXT_ACTIONS = (*ACTION_BY_STATUS.values(), *ACTION_BY_SETUP_STATUS.values(), "none")


def next_action(status: str | None, setup_status: str | None) -> str:
    """Return what a customer has to do next about an integration; see `Integration.next_action`."""
    return ACTION_BY_STATUS.get(status or "") or ACTION_BY_SETUP_STATUS.get(setup_status, "none")


@dataclass(frozen=True, slots=True)
class Integration:
    """The lasting connection between one of your customers and a tool.

    Attributes:
        integration_id: Kombo's id, for your own calls to Kombo. Kombo asks to keep it on the server.
        public_id: Our random id, the only one that a browser sees.
        origin_id: Your customer's id, as in `EndUser`; None if Kombo names none.
        tool: Kombo's id of the tool, for example ``personio``.
        category: ``HRIS``, ``ATS``, ``ASSESSMENT`` or ``LMS``; None until known.
        organization_name: Your customer's name as Kombo has it.
        email: The address of the person who connected it, if Kombo names one.
        status: ``ACTIVE``, ``INVALID`` or ``INACTIVE``; None until known.
        setup_status: ``INCOMPLETE``, ``FINAL_SYNC_PENDING`` or ``COMPLETED``; None until known.
        connected_at: When it was recorded here (UTC).
        updated_at: When the record last changed (UTC).
        tool_label: Kombo's name of the tool, for example ``Personio``; None until known.
        logo_url: The tool's logo, an https URL; None until known, or if Kombo has none.
    """

    integration_id: str
    public_id: str
    origin_id: str | None
    tool: str
    category: str | None
    organization_name: str | None
    email: str | None = field(repr=False)
    status: str | None
    setup_status: str | None
    connected_at: datetime
    updated_at: datetime
    tool_label: str | None = None
    logo_url: str | None = None

    @property
    def next_action(self) -> str:
        """Return what the customer has to do next: the first action that applies, or ``none``.

        ``pending``: Kombo has not reported a setup status yet.
        """
        return next_action(self.status, self.setup_status)


@dataclass(frozen=True, slots=True)
class IntegrationQuery:
    """Which of an origin id's integrations to list, the oldest first.

    Attributes:
        limit: The size of a page.
        cursor: Where the page begins: `IntegrationPage.next_cursor` of the page before it.
        next_actions: Only integrations with one of these; all integrations if it is empty.
    """

    limit: int
    cursor: str | None = None
    next_actions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IntegrationPage:
    """A page of integrations; ``next_cursor`` is None after the last one."""

    integrations: list[Integration]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Completion:
    """The record of a completed flow, and whether this call recorded it."""

    integration: Integration
    first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """The result of erasing a customer.

    Attributes:
        rows: How many rows were removed, or emptied of what is personal, per table.
        deleted_at_kombo: How many integrations Kombo has deleted, or did not know any more.
        failed_at_kombo: Those that could not be deleted at Kombo: Kombo's id, and the error code.
        dry_run: Whether the rows were only counted.
    """

    rows: dict[str, int]
    deleted_at_kombo: int = 0
    failed_at_kombo: dict[str, str] = field(default_factory=dict)
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """The result of re-reading all recorded integrations from Kombo.

    Attributes:
        checked: How many were read or attempted.
        updated: How many records changed.
        deleted: How many Kombo no longer knows; they are marked as deleted.
        failed: Those that could not be read: Kombo's id, and the error code. The code is ``all_not_found``
            if Kombo recognized none of the integrations; then none was deleted.
    """

    checked: int
    updated: int
    deleted: int
    failed: dict[str, str]


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
