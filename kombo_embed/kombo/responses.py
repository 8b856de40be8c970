"""What Kombo answers, read into our words: one function for each kind of answer. No I/O.

Unknown fields and unknown values are accepted: Kombo adds some.
"""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationError

from kombo_embed.errors import (
    KomboError,
    KomboInvalidResponse,
    KomboRateLimited,
    KomboRejected,
    KomboUnavailable,
)
from kombo_embed.upstream import IntegrationDetails, ReportedIntegration, Tool
from kombo_embed.urls import is_loopback

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


def parse_link(body: bytes) -> str:
    """The link in Kombo's answer.

    Raises:
        KomboInvalidResponse: There is none, or none that may be given to a browser.
    """
    link = _read(_LinkAnswer, body, "link").data.link
    if not is_safe_link(link):
        raise KomboInvalidResponse("Kombo's answer holds a link that is not https.")
    return link


def parse_integration(body: bytes) -> ReportedIntegration:
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


def parse_details(body: bytes) -> IntegrationDetails:
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


def parse_environment(body: bytes) -> str:
    """Kombo's id of the environment that an API key belongs to.

    Raises:
        KomboInvalidResponse: There is none.
    """
    return _read(_KeyAnswer, body, "environment").data.environment_id


def parse_tools(body: bytes) -> list[Tool]:
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


RATE_LIMITED = {"PLATFORM.RATE_LIMIT_EXCEEDED", "PLATFORM.CONCURRENCY_LIMIT_EXCEEDED"}
SERVICE_UNAVAILABLE = "REMOTE.SERVICE_UNAVAILABLE"
UNAVAILABLE = {SERVICE_UNAVAILABLE, "PLATFORM.TASK_TIMED_OUT"}
RETRYABLE = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
CREDENTIALS = {"PLATFORM.AUTHENTICATION_INVALID", "PLATFORM.IP_NOT_WHITELISTED"}
INPUT_INVALID = "PLATFORM.INPUT_INVALID"
NOT_FOUND = "PLATFORM.INTEGRATION_NOT_FOUND"

CODE = re.compile(r"[A-Z0-9_.]{1,80}")
RETRY_AFTER_DEFAULT = 5  # seconds; Kombo documents none
RETRY_AFTER_MAX = 3600  # seconds


class _ErrorData(BaseModel):
    code: str | None = None


class _ErrorAnswer(BaseModel):
    error: _ErrorData


def parse_error(status: int, retry_after: str | None, body: bytes, *, now: datetime) -> KomboError:
    """What an answer other than 200 means: by Kombo's code, by the status only where there is no code.

    Kombo says that its statuses may change and its codes do not (docs.kombo.dev/guides/errors). Its message
    is for people and can hold anything, so it is not passed on.
    """
    code = _read_code(body)
    retry_after_seconds = parse_retry_after(retry_after, now=now)
    wait = RETRY_AFTER_DEFAULT if retry_after_seconds is None else retry_after_seconds
    if code in RATE_LIMITED or (code is None and status == HTTPStatus.TOO_MANY_REQUESTS):
        return KomboRateLimited(
            "Kombo asks for fewer requests.",
            retry_after=wait,
            has_retry_after=retry_after_seconds is not None,
        )
    if code in UNAVAILABLE or (code is None and status >= HTTPStatus.INTERNAL_SERVER_ERROR):
        return KomboUnavailable(
            f"Kombo is not available (status {status}).",
            retry_after=wait,
            has_retry_after=retry_after_seconds is not None,
            retryable=code == SERVICE_UNAVAILABLE if code else status in RETRYABLE,
        )
    if code is None and status < HTTPStatus.BAD_REQUEST:
        return KomboInvalidResponse(f"Kombo answered with status {status}, which it does not document.")
    if code in CREDENTIALS or (code is None and status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}):
        message = "Kombo refused the API key, or this server's address. Check KOMBO_API_KEY and KOMBO_REGION."
        return KomboRejected(message, kombo_code=code, cause="credentials")
    cause: Literal["request", "other"] = "request" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "other"
    return KomboRejected(f"Kombo refused the request ({code or status}).", kombo_code=code, cause=cause)


def parse_retry_after(value: str | None, *, now: datetime) -> int | None:
    """Seconds to wait, from a ``Retry-After`` of either form (RFC 9110, 10.2.3), within 1 s and an hour.

    None where there is none, or none that can be read.
    """
    if value is None:
        return None
    try:
        seconds = int(value)
    except ValueError:
        try:
            seconds = round((parsedate_to_datetime(value) - now).total_seconds())
        except (ValueError, TypeError, OverflowError):
            return None
    return max(1, min(seconds, RETRY_AFTER_MAX))


def _read_code(body: bytes) -> str | None:
    try:
        code = _ErrorAnswer.model_validate_json(body).error.code
    except ValidationError:
        return None
    return code if code is not None and CODE.fullmatch(code) else None
