"""What Kombo tells us, read into our words, before it is on record; None is "not said"."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ReportedIntegration:
    """What Kombo said of an integration, by token or by webhook; None is "not said"."""

    integration_id: str
    tool: str
    origin_id: str | None
    organization_name: str | None
    email: str | None = field(repr=False)
    category: str | None = None
    setup_status: str | None = None


@dataclass(frozen=True, slots=True)
class ReportedDeletion:
    """That Kombo deleted an integration, which one may not know yet."""

    integration: ReportedIntegration


@dataclass(frozen=True, slots=True)
class ReportedState:
    """A state that an integration got; ``updated_at`` is Kombo's time, None where it says none."""

    integration_id: str
    status: str | None
    setup_status: str | None
    updated_at: datetime | None
    qa_status: str | None = None


@dataclass(frozen=True, slots=True)
class FailedFlow:
    """That a flow failed for its end user, who may try again in it."""

    origin_id: str | None
    tool: str | None
    category: str | None
    log_url: str | None


Report = ReportedIntegration | ReportedDeletion | ReportedState | FailedFlow


@dataclass(frozen=True, slots=True)
class IntegrationDetails:
    """What Kombo tells of an integration that exists; None is "not said"."""

    integration_id: str
    tool: str
    category: str | None
    status: str | None
    setup_status: str | None
    origin_id: str | None


@dataclass(frozen=True, slots=True)
class Tool:
    """One of Kombo's tools, for pages with a picker of their own."""

    id: str
    label: str
    logo_url: str | None


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """One signed delivery of Kombo's, verified and parsed. ``data`` is as received."""

    event_id: str
    type: str
    data: dict[str, object] = field(repr=False)
