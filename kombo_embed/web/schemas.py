"""The schemas of our responses, and what fills them; `kombo_embed.web.requests` has the request bodies.

Their names begin with Kombo, because they also appear in a host's own OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from kombo_embed.clock import rfc3339
from kombo_embed.integration import Integration, IntegrationPage
from kombo_embed.models import Category


class KomboLink(BaseModel):
    """A connection link for Kombo's Connect SDK. It is a credential."""

    link: str = Field(description="Pass it to the Connect SDK.")
    expires_at: datetime = Field(description="UTC.")


NextAction = Literal["enable", "reconnect", "finish_setup", "wait_for_sync", "pending", "none"]
EndUserAction = Literal["disconnect"]


class KomboPrefetchedLink(BaseModel):
    """The end of a link that is cached for a later request. The link itself is not sent."""

    expires_at: datetime = Field(description="UTC.")
    link_origin: str = Field(description="Kombo's origin, so that a page can connect to it in advance.")


class KomboLinkResponse(RootModel[KomboLink | KomboPrefetchedLink]):
    """A link, or with prefetch its end alone."""


class KomboIntegration(BaseModel):
    """An integration between the signed-in end user's organization and a tool."""

    id: str = Field(description="Our random public id. Kombo's own id is never sent.")
    tool: str = Field(description="Kombo's id of the tool, for example personio.")
    tool_label: str | None = Field(description="Kombo's name of the tool; null until known.")
    logo_url: str | None = Field(description="The tool's logo; null until known, or if there is none.")
    category: Category | None = Field(description="Null until known.")
    organization_name: str | None
    status: str | None = Field(description="Kombo's value, for example ACTIVE or INVALID; null until known.")
    setup_status: str | None = Field(description="Kombo's value, for example COMPLETED; null until known.")
    next_action: NextAction
    connected_at: datetime = Field(description="UTC.")
    updated_at: datetime = Field(description="UTC.")


def serialize_integration(integration: Integration) -> dict[str, object]:
    """Return an integration as a `KomboIntegration` in JSON: with our public id, without Kombo's."""
    return {
        "id": integration.public_id,
        "tool": integration.tool,
        "tool_label": integration.tool_label,
        "logo_url": integration.logo_url,
        "category": integration.category,
        "organization_name": integration.organization_name,
        "status": integration.status,
        "setup_status": integration.setup_status,
        "next_action": integration.next_action,
        "connected_at": rfc3339(integration.connected_at),
        "updated_at": rfc3339(integration.updated_at),
    }


class KomboIntegrationResponse(BaseModel):
    """One integration."""

    integration: KomboIntegration


class KomboIntegrationsResponse(BaseModel):
    """A page of the integrations of the signed-in end user's organization, oldest first."""

    integrations: list[KomboIntegration]
    next_cursor: str | None = Field(description="The cursor of the next page; null after the last one.")
    actions: list[EndUserAction] = Field(description="What the end user may do with each integration.")


def serialize_integrations(page: IntegrationPage, *, actions: Sequence[EndUserAction]) -> dict[str, object]:
    """Return a page as a `KomboIntegrationsResponse` in JSON."""
    return {
        "integrations": [serialize_integration(integration) for integration in page.integrations],
        "next_cursor": page.next_cursor,
        "actions": list(actions),
    }


class KomboTool(BaseModel):
    """One of Kombo's tools."""

    id: str
    label: str
    logo_url: str | None
    connected: bool = Field(description="Whether the organization has connected it in this category.")


class KomboToolsResponse(BaseModel):
    """The tools of a category that the settings allow."""

    tools: list[KomboTool]


class KomboWebhooks(BaseModel):
    """Whether webhooks can arrive, and did."""

    configured: bool = Field(description="Whether a webhook secret is set.")
    last_received_at: datetime | None = Field(
        description="When the last valid event was received, by any process (UTC); null if none is kept."
    )


class KomboHealth(BaseModel):
    """Whether the database and Redis can be reached, and webhooks arrive."""

    status: Literal["ok", "degraded", "failing"]
    checks: dict[str, str]
    webhooks: KomboWebhooks


class KomboFieldProblem(BaseModel):
    """One invalid field of a request."""

    field: str = Field(description="Its name, or body for the body as a whole.")
    reason: str


class KomboProblem(BaseModel):
    """An error (RFC 9457). Programs read its code."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable, for programs.")
    errors: list[KomboFieldProblem] = Field(default=[], description="With invalid_request.")
    kombo_code: str = Field(default="", description="With kombo_rejected, if Kombo sent a code.")
    integration: KomboIntegration | None = Field(
        default=None, description="With already_connected: the integration to reconnect instead."
    )
