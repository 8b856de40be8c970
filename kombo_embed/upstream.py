"""What Kombo, or the file of an import, reported, before it is recorded; None is what it left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

# Why an integration cannot be recorded; Kombo's own codes, and ours for Kombo's failures, are reasons, too.
INVALID_LINE = "invalid_line"
NOT_FOUND = "not_found"
OTHER_CUSTOMER = "other_customer"
OTHER_TOOL = "other_tool"
DELETED = "deleted"
ERASED = "erased"

Recorded = Literal["imported", "completed", "known"]
Status = Literal["imported", "completed", "known", "failed"]


@dataclass(frozen=True, slots=True)
class ReportedIntegration:
    """An integration, reported in exchange for an activation token or by webhook."""

    integration_id: str
    tool: str
    origin_id: str | None
    organization_name: str | None
    email: str | None = field(repr=False)
    category: str | None = None
    setup_status: str | None = None


@dataclass(frozen=True, slots=True)
class ReportedDeletion:
    """A deletion at Kombo, possibly of an integration that is not recorded yet."""

    integration: ReportedIntegration


@dataclass(frozen=True, slots=True)
class ReportedState:
    """A change of an integration's state; ``updated_at`` is Kombo's time."""

    integration_id: str
    status: str | None
    setup_status: str | None
    updated_at: datetime | None
    qa_status: str | None = None


@dataclass(frozen=True, slots=True)
class FailedFlow:
    """A connection flow that failed; its end user may try again within the same flow."""

    origin_id: str | None
    tool: str | None
    category: str | None
    log_url: str | None
    email: str | None = field(repr=False, default=None)


Report = ReportedIntegration | ReportedDeletion | ReportedState | FailedFlow


@dataclass(frozen=True, slots=True)
class IntegrationDetails:
    """The details of an integration that exists at Kombo."""

    integration_id: str
    tool: str
    category: str | None
    status: str | None
    setup_status: str | None
    origin_id: str | None
    tool_label: str | None = None
    logo_url: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ApiKeyCheck:
    """The environment of an API key, and the time on Kombo's clock, to the second."""

    environment_id: str
    answered_at: datetime | None


@dataclass(frozen=True, slots=True)
class Tool:
    """One of Kombo's tools, for pages with their own picker."""

    id: str
    label: str
    logo_url: str | None


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A webhook event, verified and parsed. ``data`` is as received."""

    event_id: str
    type: str
    data: dict[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ImportLine:
    """One line of a file: an integration, and whose it is. None is what the file leaves out."""

    number: int
    integration_id: str
    origin_id: str
    email: str | None = field(repr=False, default=None)
    organization_name: str | None = field(repr=False, default=None)
    tool: str | None = None
    category: str | None = None
    connected_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class InvalidLine:
    """A line that cannot be used. ``problem`` says why, without the line's values."""

    number: int
    problem: str
    integration_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """The outcome of a line.

    Attributes:
        number: The line's number in the file, from 1.
        integration_id: Kombo's id; None if the line has none.
        status: ``imported``: recorded now. ``completed``: it was recorded, and the line, or Kombo, had more
            about it. ``known``: nothing was new. ``failed``: it was not recorded.
        reason: Why it failed: a code.
        detail: The same in words, without the line's values.
    """

    number: int
    integration_id: str | None
    status: Status
    reason: str | None = None
    detail: str | None = None


class Refused(Exception):
    """An integration may not be recorded for this customer. ``reason`` is one of the codes above."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
