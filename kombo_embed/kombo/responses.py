"""Parses Kombo's responses: one function per kind of response, and `parse_error` for all failures. No I/O.

Unknown fields and unknown values are accepted, because Kombo adds some. A response that lacks what it must
have raises `KomboInvalidResponse`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Annotated, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError

from kombo_embed import errors
from kombo_embed.kombo.decoding import KomboId, decode, has_lone_surrogate, is_text
from kombo_embed.models import is_origin_id
from kombo_embed.upstream import ApiKeyCheck, IntegrationDetails, ReportedIntegration, Tool
from kombo_embed.urls import is_safe_link

RATE_LIMITED = {"PLATFORM.RATE_LIMIT_EXCEEDED", "PLATFORM.CONCURRENCY_LIMIT_EXCEEDED"}
SERVICE_UNAVAILABLE = "REMOTE.SERVICE_UNAVAILABLE"
UNAVAILABLE = {SERVICE_UNAVAILABLE, "PLATFORM.TASK_TIMED_OUT"}
CREDENTIALS = {"PLATFORM.AUTHENTICATION_INVALID", "PLATFORM.IP_NOT_WHITELISTED"}
INPUT_INVALID = "PLATFORM.INPUT_INVALID"
NOT_FOUND = "PLATFORM.INTEGRATION_NOT_FOUND"
CODE = re.compile(r"[A-Z0-9_.]{1,80}")

RETRYABLE_STATUSES = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
CREDENTIALS_STATUSES = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
RETRY_AFTER_DEFAULT_SECONDS = 5  # Kombo documents none
RETRY_AFTER_MAX_SECONDS = 3600

Data = TypeVar("Data", bound=BaseModel)
# Null does not match any end user, and neither does an origin id that no end user can have.
AnyOriginId = Annotated[str | None, AfterValidator(lambda value: value if is_origin_id(value) else None)]
OpenEnum = Annotated[str, Field(max_length=64)]  # a value of an enumeration that Kombo may extend
# A text that only pages show: without a usable one, the rest of the response still counts.
OptionalText = Annotated[str | None, BeforeValidator(lambda value: value if is_text(value) else None)]


class _Envelope(BaseModel, Generic[Data]):
    data: Data


class _Link(BaseModel):
    link: str


class _Reported(BaseModel):
    id: KomboId
    tool: KomboId
    end_user_origin_id: AnyOriginId = None
    end_user_organization_name: str | None = None
    end_user_email: str | None = None
    setup_status: OpenEnum | None = None


class _ToolName(BaseModel):
    id: KomboId
    label: OptionalText = None
    logo_url: OptionalText = None


class _EndUser(BaseModel):
    origin_id: AnyOriginId = None


class _Details(BaseModel):
    id: KomboId
    tool: _ToolName
    category: OpenEnum | None = None
    status: OpenEnum | None = None
    setup_status: OpenEnum | None = None
    end_user: _EndUser = _EndUser()
    created_at: object = None


class _ApiKey(BaseModel):
    environment_id: str


class _Assets(BaseModel):
    logo_url: OptionalText = None


class _Tool(BaseModel):
    id: KomboId
    label: OptionalText = None
    assets: Annotated[_Assets, BeforeValidator(lambda value: value or {})] = _Assets()


class _Tools(BaseModel):
    tools: list[_Tool]


# Created once: pydantic takes 0.3 ms to look up a parametrized model, a tenth of a mint.
_LinkEnvelope = _Envelope[_Link]
_ReportedEnvelope = _Envelope[_Reported]
_DetailsEnvelope = _Envelope[_Details]
_ApiKeyEnvelope = _Envelope[_ApiKey]
_ToolsEnvelope = _Envelope[_Tools]


class _Error(BaseModel):
    code: str | None = None


class _ErrorEnvelope(BaseModel):
    error: _Error


def parse_link(body: bytes, *, api_url: str) -> str:
    """Return the link in a response; it must be one that may be given to a browser."""
    link = _parse(_LinkEnvelope, body, "link").link
    if not is_safe_link(link, api_url=api_url):
        raise errors.KomboInvalidResponse("Kombo's response contains a link that is not https.")
    return link


def parse_integration(body: bytes) -> ReportedIntegration:
    """Return the integration that an activation token was exchanged for."""
    data = _parse(_ReportedEnvelope, body, "integration")
    return ReportedIntegration(
        integration_id=data.id,
        tool=data.tool,
        origin_id=data.end_user_origin_id,
        organization_name=data.end_user_organization_name,
        email=data.end_user_email,
        setup_status=data.setup_status,
    )


def parse_details(body: bytes, *, api_url: str) -> IntegrationDetails:
    """Return an integration's details."""
    data = _parse(_DetailsEnvelope, body, "integration")
    return IntegrationDetails(
        integration_id=data.id,
        tool=data.tool.id,
        category=data.category,
        status=data.status,
        setup_status=data.setup_status,
        origin_id=data.end_user.origin_id,
        tool_label=data.tool.label,
        logo_url=_safe_logo(data.tool.logo_url, api_url=api_url),
        created_at=_parse_time(data.created_at),
    )


def parse_api_key_check(body: bytes, *, date: str | None) -> ApiKeyCheck:
    """Return the environment that an API key belongs to; ``date`` is the header of this name."""
    environment_id = _parse(_ApiKeyEnvelope, body, "environment").environment_id
    try:
        answered_at = parsedate_to_datetime(date or "")
    except (ValueError, OverflowError):
        answered_at = None
    if answered_at is not None and answered_at.tzinfo is None:  # -0000: RFC 5322, 3.3
        answered_at = answered_at.replace(tzinfo=UTC)
    return ApiKeyCheck(environment_id, answered_at)


def parse_tools(body: bytes, *, api_url: str) -> list[Tool]:
    """Return a category's tools, without logos that a page cannot load safely; a missing label is the id."""
    tools = _parse(_ToolsEnvelope, body, "list of tools").tools
    logos = (_safe_logo(tool.assets.logo_url, api_url=api_url) for tool in tools)
    return [Tool(tool.id, tool.label or tool.id, logo) for tool, logo in zip(tools, logos, strict=True)]


def _parse_time(value: object) -> datetime | None:
    """Return a time in UTC; None for what is no time, which nothing but an erased customer depends on."""
    try:
        time = datetime.fromisoformat(str(value))
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_error(status: int, retry_after: str | None, body: bytes, *, now: datetime) -> errors.KomboError:
    """Return the error that a response other than 200 means.

    Kombo's code decides, and the status only if there is no code: Kombo may change its statuses but not its
    codes (docs.kombo.dev/guides/errors). Its message may contain anything, so it is dropped.
    """
    code = _parse_code(body)
    seconds = parse_retry_after(retry_after, now=now)
    wait_seconds = RETRY_AFTER_DEFAULT_SECONDS if seconds is None else seconds
    if code in RATE_LIMITED or (code is None and status == HTTPStatus.TOO_MANY_REQUESTS):
        message = "Kombo's request limit is reached."
        return errors.KomboRateLimited(message, retry_after=wait_seconds, has_retry_after=seconds is not None)
    if code in UNAVAILABLE or (code is None and status >= HTTPStatus.INTERNAL_SERVER_ERROR):
        return errors.KomboUnavailable(
            f"Kombo is not available (status {status}).",
            retry_after=wait_seconds,
            has_retry_after=seconds is not None,
            retryable=code == SERVICE_UNAVAILABLE if code else status in RETRYABLE_STATUSES,
        )
    return _rejection(status, code)


def parse_retry_after(value: str | None, *, now: datetime) -> int | None:
    """Return the seconds of a ``Retry-After`` of either form (RFC 9110, 10.2.3), 1 to 3600; else None."""
    if value is None:
        return None
    try:
        seconds = int(value)
    except ValueError:
        try:
            seconds = round((parsedate_to_datetime(value) - now).total_seconds())
        except (ValueError, TypeError, OverflowError):
            return None
    return max(1, min(seconds, RETRY_AFTER_MAX_SECONDS))


def _safe_logo(url: str | None, *, api_url: str) -> str | None:
    return url if url and is_safe_link(url, api_url=api_url) else None


def _parse(envelope: type[_Envelope[Data]], body: bytes, what: str) -> Data:
    try:
        if has_lone_surrogate(body):
            return envelope.model_validate(decode(body)).data
        return envelope.model_validate_json(body).data
    except ValueError:  # pydantic's is one
        raise errors.KomboInvalidResponse(f"Kombo's response contains no {what}.") from None


def _parse_code(body: bytes) -> str | None:
    try:
        code = _ErrorEnvelope.model_validate_json(body).error.code
    except ValidationError:
        return None
    return code if code is not None and CODE.fullmatch(code) else None


def _rejection(status: int, code: str | None) -> errors.KomboError:
    if code is None and status < HTTPStatus.BAD_REQUEST:
        return errors.KomboInvalidResponse(f"Kombo responded with the undocumented status {status}.")
    if code in CREDENTIALS or (code is None and status in CREDENTIALS_STATUSES):
        message = "Kombo refused the API key, or this server's address. Check KOMBO_API_KEY and KOMBO_REGION."
        return errors.KomboRejected(message, kombo_code=code, cause="credentials", status=status)
    return errors.KomboRejected(
        f"Kombo refused the request ({code or status}).",
        kombo_code=code,
        cause="request" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "other",
        status=status,
    )
