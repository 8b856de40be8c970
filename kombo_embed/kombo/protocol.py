"""What Kombo's Connect API means, without any I/O.

Requests are built here and answers are read here; `kombo_embed.kombo.client` only carries them. Sources:
Kombo's OpenAPI of ``POST /connect/create-link`` and its documentation, docs.kombo.dev.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, Field, ValidationError

from kombo_embed.errors import (
    FieldError,
    InvalidRequest,
    KomboError,
    KomboInvalidResponse,
    KomboRateLimited,
    KomboRejected,
    KomboUnavailable,
)
from kombo_embed.models import EndUser, LinkRequest, ReportedIntegration

# Dots alone, slashes and the like would reach another of Kombo's endpoints with our key.
TOKEN = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~=+:-]{1,4096}")
LINK_MAX_LENGTH = 8192
CODE = re.compile(r"[A-Z0-9_.]{1,80}")
RETRY_AFTER_DEFAULT = 5  # seconds; Kombo documents none
RETRY_AFTER_MAX = 3600  # seconds

RATE_LIMITED = {"PLATFORM.RATE_LIMIT_EXCEEDED", "PLATFORM.CONCURRENCY_LIMIT_EXCEEDED"}
UNAVAILABLE = {"PLATFORM.TASK_TIMED_OUT", "REMOTE.SERVICE_UNAVAILABLE"}
CREDENTIALS = {"PLATFORM.AUTHENTICATION_INVALID", "PLATFORM.IP_NOT_WHITELISTED"}
INPUT_INVALID = "PLATFORM.INPUT_INVALID"


@dataclass(frozen=True, slots=True)
class KomboRequest:
    """One call to Kombo: a path below the base URL, already encoded, and the JSON body, if it has one."""

    method: Literal["GET", "POST"]
    path: str = field(repr=False)
    body: dict[str, Any] | None = field(default=None, repr=False)


def create_link(end_user: EndUser, request: LinkRequest) -> KomboRequest:
    """Ask for an EMBEDDED connection link.

    Category, language and link type are always said, so that a change of Kombo's defaults changes nothing
    here. What is not set is left out, never null. ``remote_environment`` goes only with a tool and
    ``enable_filtering`` only with HRIS, as Kombo documents.
    """
    options = request.options
    body: dict[str, Any] = {
        "end_user_email": end_user.email,
        "end_user_organization_name": end_user.organization_name,
        "end_user_origin_id": end_user.origin_id,
        "integration_category": request.category,
        "language": request.language,
        "link_type": "EMBEDDED",
        "integration_tool": request.tool,
        "remote_environment": options.remote_environment if request.tool else None,
        "scope_config_id": options.scope_config_id,
        "enable_filtering": options.enable_filtering if request.category == "HRIS" else None,
        "enable_field_mapping": options.enable_field_mapping,
        "enable_static_ips": options.enable_static_ips,
    }
    given = {name: value for name, value in body.items() if value is not None}
    return KomboRequest("POST", "/connect/create-link", given)


def integration_by_token(activation_token: str) -> KomboRequest:
    """Ask which integration an activation token stands for.

    Raises:
        InvalidRequest: The token holds something that has no place in one; Kombo is not asked.
    """
    if TOKEN.fullmatch(activation_token) is None:
        raise InvalidRequest(
            "The activation token is not one that Kombo gives out.",
            FieldError("activation_token", "must be 1 to 4096 of A-Z a-z 0-9 . _ ~ = + : -"),
        )
    return KomboRequest("GET", f"/connect/integration-by-token/{quote(activation_token, safe='')}")


class _LinkData(BaseModel):
    link: str


class _LinkAnswer(BaseModel):
    data: _LinkData


class _IntegrationData(BaseModel):
    id: str = Field(min_length=1, max_length=255)
    tool: str = Field(min_length=1, max_length=255)
    end_user_origin_id: str | None = None
    end_user_organization_name: str | None = None
    end_user_email: str | None = None
    setup_status: str | None = None


class _IntegrationAnswer(BaseModel):
    data: _IntegrationData


class _ErrorData(BaseModel):
    code: str | None = None


class _ErrorAnswer(BaseModel):
    error: _ErrorData


def read_link(body: bytes) -> str:
    """The link in Kombo's answer.

    Raises:
        KomboInvalidResponse: There is none, or none that may be given to a browser.
    """
    try:
        link = _LinkAnswer.model_validate_json(body).data.link
    except ValidationError:
        raise KomboInvalidResponse("Kombo's answer holds no link.") from None
    if not _is_safe_link(link):
        raise KomboInvalidResponse("Kombo's answer holds a link that is not https.")
    return link


def read_integration(body: bytes) -> ReportedIntegration:
    """The integration in Kombo's answer to an activation token.

    Raises:
        KomboInvalidResponse: There is none.
    """
    try:
        data = _IntegrationAnswer.model_validate_json(body).data
    except ValidationError:
        raise KomboInvalidResponse("Kombo's answer holds no integration.") from None
    return ReportedIntegration(
        integration_id=data.id,
        tool=data.tool,
        origin_id=data.end_user_origin_id,
        organization_name=data.end_user_organization_name,
        email=data.end_user_email,
        setup_status=data.setup_status,
    )


def read_error(status: int, retry_after: str | None, body: bytes, *, now: datetime) -> KomboError:
    """What an answer other than 200 means: by Kombo's code, by the status only where there is no code.

    Kombo says that its statuses may change and its codes do not (docs.kombo.dev/guides/errors). Its message
    is for people and can hold anything, so it is not passed on.
    """
    code = _read_code(body)
    wait = read_retry_after(retry_after, now=now)
    if code in RATE_LIMITED or (code is None and status == HTTPStatus.TOO_MANY_REQUESTS):
        return KomboRateLimited("Kombo asks for fewer requests.", retry_after=wait)
    if code in UNAVAILABLE or (code is None and status >= HTTPStatus.INTERNAL_SERVER_ERROR):
        return KomboUnavailable(f"Kombo is not available (status {status}).", retry_after=wait)
    if code is None and status < HTTPStatus.BAD_REQUEST:
        return KomboInvalidResponse(f"Kombo answered with status {status}, which it does not document.")
    if code in CREDENTIALS or (code is None and status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}):
        message = "Kombo refused the API key, or this server's address. Check KOMBO_API_KEY and KOMBO_REGION."
        return KomboRejected(message, kombo_code=code, cause="credentials")
    cause: Literal["request", "other"] = "request" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "other"
    return KomboRejected(f"Kombo refused the request ({code or status}).", kombo_code=code, cause=cause)


def read_retry_after(value: str | None, *, now: datetime) -> int:
    """Seconds to wait, from a ``Retry-After`` of either form (RFC 9110, 10.2.3), within 1 s and an hour."""
    if value is None:
        return RETRY_AFTER_DEFAULT
    try:
        seconds = int(value)
    except ValueError:
        try:
            seconds = round((parsedate_to_datetime(value) - now).total_seconds())
        except (ValueError, TypeError, OverflowError):
            return RETRY_AFTER_DEFAULT
    return max(1, min(seconds, RETRY_AFTER_MAX))


def _read_code(body: bytes) -> str | None:
    try:
        code = _ErrorAnswer.model_validate_json(body).error.code
    except ValidationError:
        return None
    return code if code is not None and CODE.fullmatch(code) else None


def _is_safe_link(link: str) -> bool:
    if len(link) > LINK_MAX_LENGTH or not link.isascii() or re.search(r"[\s\x00-\x1f\x7f\\]", link):
        return False
    try:
        parts = urlsplit(link)
        host = parts.hostname
    except ValueError:
        return False
    if not host:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
