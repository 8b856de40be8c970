"""What Kombo reported, in our types, before it is recorded; None is what Kombo left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


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
