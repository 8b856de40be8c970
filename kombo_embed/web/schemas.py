"""The shapes of our answers, for the documents that describe them; `kombo_embed.web.requests` has the bodies'.

Their names begin with Kombo, since they also stand in a host's own OpenAPI document.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from kombo_embed.models import Category


class KomboLink(BaseModel):
    """A connection link for the Connect SDK. It is a credential."""

    link: str = Field(description="To give to Kombo's Connect SDK.")
    expires_at: datetime = Field(description="UTC.")


class KomboIntegration(BaseModel):
    """The lasting tie between the signed-in end user's organisation and a tool."""

    id: str = Field(description="Our random public id; Kombo's own is never sent.")
    tool: str = Field(description="Kombo's id of the tool, for example personio.")
    category: Category | None = Field(description="Null until known.")
    organization_name: str | None
    status: str | None = Field(description="Kombo's word, for example ACTIVE, INVALID; null until known.")
    setup_status: str | None = Field(description="Kombo's word, for example COMPLETED; null until known.")
    next_action: Literal["enable", "reconnect", "finish_setup", "wait_for_sync", "none"]
    connected_at: datetime = Field(description="UTC.")
    updated_at: datetime = Field(description="UTC.")


class KomboIntegrationAnswer(BaseModel):
    """One integration."""

    integration: KomboIntegration


class KomboIntegrationsAnswer(BaseModel):
    """The integrations of the signed-in end user's organisation, oldest first."""

    integrations: list[KomboIntegration]


class KomboTool(BaseModel):
    """One of Kombo's tools."""

    id: str
    label: str
    logo_url: str | None
    connected: bool = Field(description="Whether the organisation has it in this category already.")


class KomboToolsAnswer(BaseModel):
    """The tools of a category that are allowed here."""

    tools: list[KomboTool]


class KomboHealth(BaseModel):
    """Whether what this needs can be reached."""

    status: Literal["ok", "degraded", "failing"]
    checks: dict[str, str]


class KomboFieldProblem(BaseModel):
    """One thing that is wrong with a request."""

    field: str = Field(description="Its name, or body for the whole.")
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
    kombo_code: str = Field(default="", description="With kombo_rejected, where Kombo gave one.")
    integration: KomboIntegration | None = Field(
        default=None, description="With already_connected: what to reconnect instead."
    )
