"""What Kombo answers, read into our words: one function for each kind of answer. No I/O.

Unknown fields and unknown values are accepted: Kombo adds some.
"""

from __future__ import annotations

import re
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationError

from kombo_embed.errors import KomboInvalidResponse
from kombo_embed.hosts import is_loopback
from kombo_embed.reports import IntegrationDetails, ReportedIntegration, Tool

LINK_MAX_LENGTH = 8192

Answer = TypeVar("Answer", bound=BaseModel)
Word = Annotated[str, Field(max_length=64)]  # one of Kombo's enumerations, to which it may add


class _LinkData(BaseModel):
    link: str


class _LinkAnswer(BaseModel):
    data: _LinkData


class _ReportedData(BaseModel):
    id: str = Field(min_length=1, max_length=255)
    tool: str = Field(min_length=1, max_length=255)
    end_user_origin_id: str | None = None
    end_user_organization_name: str | None = None
    end_user_email: str | None = None
    setup_status: Word | None = None


class _ReportedAnswer(BaseModel):
    data: _ReportedData


class _ToolName(BaseModel):
    id: str


class _EndUserData(BaseModel):
    origin_id: str | None = None


class _DetailsData(BaseModel):
    id: str
    tool: _ToolName
    category: Word | None = None
    status: Word | None = None
    setup_status: Word | None = None
    end_user: _EndUserData = _EndUserData()


class _DetailsAnswer(BaseModel):
    data: _DetailsData


class _KeyData(BaseModel):
    environment_id: str


class _KeyAnswer(BaseModel):
    data: _KeyData


class _Assets(BaseModel):
    logo_url: str | None = None


class _ToolData(BaseModel):
    id: str
    label: str
    assets: _Assets = _Assets()


class _Tools(BaseModel):
    tools: list[_ToolData]


class _ToolsAnswer(BaseModel):
    data: _Tools


def read_link(body: bytes) -> str:
    """The link in Kombo's answer.

    Raises:
        KomboInvalidResponse: There is none, or none that may be given to a browser.
    """
    link = _read(_LinkAnswer, body, "link").data.link
    if not is_safe_link(link):
        raise KomboInvalidResponse("Kombo's answer holds a link that is not https.")
    return link


def read_integration(body: bytes) -> ReportedIntegration:
    """The integration in Kombo's answer to an activation token.

    Raises:
        KomboInvalidResponse: There is none.
    """
    data = _read(_ReportedAnswer, body, "integration").data
    return ReportedIntegration(
        integration_id=data.id,
        tool=data.tool,
        origin_id=data.end_user_origin_id,
        organization_name=data.end_user_organization_name,
        email=data.end_user_email,
        setup_status=data.setup_status,
    )


def read_details(body: bytes) -> IntegrationDetails:
    """The integration in Kombo's answer to a question about it.

    Raises:
        KomboInvalidResponse: There is none.
    """
    data = _read(_DetailsAnswer, body, "integration").data
    return IntegrationDetails(
        integration_id=data.id,
        tool=data.tool.id,
        category=data.category,
        status=data.status,
        setup_status=data.setup_status,
        origin_id=data.end_user.origin_id,
    )


def read_environment(body: bytes) -> str:
    """Kombo's id of the environment that an API key belongs to.

    Raises:
        KomboInvalidResponse: There is none.
    """
    return _read(_KeyAnswer, body, "environment").data.environment_id


def read_tools(body: bytes) -> list[Tool]:
    """The tools in Kombo's answer; a logo that a page could not load safely is left out.

    Raises:
        KomboInvalidResponse: There are none.
    """
    return [
        Tool(tool.id, tool.label, logo if (logo := tool.assets.logo_url) and is_safe_link(logo) else None)
        for tool in _read(_ToolsAnswer, body, "list of tools").data.tools
    ]


def _read(shape: type[Answer], body: bytes, what: str) -> Answer:
    try:
        return shape.model_validate_json(body)
    except ValidationError:
        raise KomboInvalidResponse(f"Kombo's answer holds no {what}.") from None


def is_safe_link(link: str) -> bool:
    """Whether a URL of Kombo's may be given to a browser: https, or http on this machine (the sandbox)."""
    if len(link) > LINK_MAX_LENGTH or not link.isascii() or re.search(r"[\s\x00-\x1f\x7f\\]", link):
        return False
    try:
        parts = urlsplit(link)
        host = parts.hostname
    except ValueError:
        return False
    if not host:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
