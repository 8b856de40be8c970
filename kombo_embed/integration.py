"""Integrations, as the host sees them, and the results of what it does with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

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
        """Return what the customer has to do next, the first action that applies, or ``none``.

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
