"""Integrations, and what happens to them, as the host sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

EVENT_TYPES = (
    "integration.connected",
    "integration.updated",
    "integration.deleted",
    "integration.duplicate",
    "flow.failed",
    "flow.abandoned",
    "kombo.event",
)


@dataclass(frozen=True, slots=True)
class Integration:
    """The lasting tie between one of your customers and a tool.

    Attributes:
        integration_id: Kombo's id, for your own calls to Kombo. Kombo asks that it stays on the server.
        public_id: Our id for it, random: the only one that a browser sees.
        origin_id: Your customer's id, as in `EndUser`; None where Kombo names none.
        tool: Kombo's id of the tool, for example ``personio``.
        category: ``HRIS``, ``ATS``, ``ASSESSMENT`` or ``LMS``; None until known.
        organization_name: Your customer's name as Kombo has it.
        email: The address of the person who connected it, where Kombo names one.
        status: ``ACTIVE``, ``INVALID`` or ``INACTIVE``; None until known.
        setup_status: ``INCOMPLETE``, ``FINAL_SYNC_PENDING`` or ``COMPLETED``; None until known.
        connected_at: When we learnt of it (UTC).
        updated_at: When we last changed the record (UTC).
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

    @property
    def next_action(self) -> str:
        """What the customer has to do next: the first that holds of Kombo's states, or ``none``."""
        by_status = {"INACTIVE": "enable", "INVALID": "reconnect"}
        by_setup = {"INCOMPLETE": "finish_setup", "FINAL_SYNC_PENDING": "wait_for_sync"}
        return by_status.get(self.status or "") or by_setup.get(self.setup_status or "") or "none"


@dataclass(frozen=True, slots=True)
class Completion:
    """A completed flow's record, and whether it was recorded just now."""

    integration: Integration
    first: bool


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for the handlers of `KomboEmbed.on`.

    Attributes:
        id: Unique and the same on every delivery: handlers are called at least once.
        type: For example ``integration.connected``.
        occurred_at: When we learnt of it (UTC).
        origin_id: Your customer's id; None where Kombo names none.
        integration: The record as it was then; None where the event is about none.
        data: With ``kombo.event``: Kombo's own event as received (``id``, ``type``, ``data``). With
            ``flow.failed``: ``tool``, ``category`` and Kombo's ``log_url``. With ``flow.abandoned``: the
            link's ``tool``, ``category``, ``language``, ``minted_at`` and ``expires_at``. With
            ``integration.duplicate``: ``integration_ids`` (Kombo's) and ``public_ids`` of all that are alike,
            oldest first. Else empty.
    """

    id: str
    type: str
    occurred_at: datetime
    origin_id: str | None
    integration: Integration | None
    data: dict[str, object] = field(repr=False, default_factory=dict)


ALL_NOT_FOUND = "all_not_found"  # why an integration was not deleted that Kombo does not know


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What came of re-reading all known integrations from Kombo.

    Attributes:
        checked: How many were read, or tried.
        updated: Records that changed.
        deleted: Those that Kombo does not know any more; they are marked as deleted.
        failed: Those that could not be read: Kombo's id, and the code of the error. It is ``all_not_found``
            where Kombo knows none of all integrations, so that none was deleted.
    """

    checked: int
    updated: int
    deleted: int
    failed: dict[str, str]
