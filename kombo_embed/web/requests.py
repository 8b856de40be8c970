"""Reads what browsers send, checking in this order: content type, size, JSON, fields."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import ClientDisconnect, Request

from kombo_embed.core.link_request import LinkChoice
from kombo_embed.errors import (
    BodyTooLarge,
    BodyTooSlow,
    FieldError,
    InvalidRequest,
    MalformedBody,
    UnsupportedMediaType,
)
from kombo_embed.models import Category, Language
from kombo_embed.settings import Settings
from kombo_embed.web.deadlines import within
from kombo_embed.web.headers import header_value
from kombo_embed.web.incoming import Incoming

JSON_MAX_BYTES = 256 * 1024
WEBHOOK_MAX_BYTES = 1024 * 1024
BODY_DEADLINE = 30  # seconds for a whole body to arrive
KNOWN_BODIES, KNOWN_MAX_BYTES = 128, 256
SERVER_DECIDES = {
    "end_user_email",
    "end_user_organization_name",
    "end_user_origin_id",
    "scope_config_id",
    "remote_environment",
    "enable_filtering",
    "enable_field_mapping",
    "enable_static_ips",
    "link_type",
}
Body = TypeVar("Body", bound=BaseModel)


class LinkBody(BaseModel):
    """``POST /links``: what the browser may choose."""

    model_config = ConfigDict(extra="forbid", strict=True)

    integration_category: Category | None = None
    integration_tool: str | None = Field(default=None, min_length=1, max_length=255, pattern=r"^[\w.-]+$")
    language: Language | None = None
    fresh: bool = False


class RelinkBody(BaseModel):
    """``POST /integrations/{id}/relink`` and ``/setup-link``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    language: Language | None = None
    fresh: bool = False


class CompletionBody(BaseModel):
    """``POST /completions``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    activation_token: str


class NoBody(BaseModel):
    """``DELETE /integrations/{id}``: nothing, or ``{}``."""

    model_config = ConfigDict(extra="forbid")


async def read_json(request: Request, shape: type[Body]) -> Body:
    """The request's body in this shape; an empty one counts as ``{}``.

    Raises:
        InvalidRequest: It is not; each field at fault is named.
    """
    return _parsed(await _read_json_body(request), shape)


async def read_choice(request: Request) -> LinkChoice:
    """What the body of ``POST /links`` chooses.

    Raises:
        InvalidRequest: As for `read_json`.
    """
    body = await _read_json_body(request)
    return _known_choice(body) if len(body) <= KNOWN_MAX_BYTES else _choice(body)


def read_category(request: Request, settings: Settings) -> str:
    """The category that the query asks for; without one, the default.

    Raises:
        InvalidRequest: It is not one, or not an allowed one.
    """
    category = request.query_params.get("category", settings.integration_category).upper()
    allowed = settings.allowed_categories or get_args(Category)
    if category not in allowed:
        raise InvalidRequest(
            "There is no such category here.", FieldError("category", f"must be one of {', '.join(allowed)}")
        )
    return category


async def _read_json_body(request: Request) -> bytes:
    media_type = header_value(request, b"content-type")
    if not _is_json(media_type) and not _says_nothing(request):
        raise UnsupportedMediaType(
            "Send JSON, with Content-Type: application/json.",
            FieldError("body", "its content type is not application/json"),
        )
    return await read_body(request, limit=JSON_MAX_BYTES)


def _choice(body: bytes) -> LinkChoice:
    chosen = _parsed(body, LinkBody)
    return LinkChoice(chosen.integration_category, chosen.integration_tool, chosen.language, chosen.fresh)


# The browsers of an app send a handful of different bodies. What was read is not read again.
_known_choice = functools.lru_cache(KNOWN_BODIES)(_choice)


def _parsed(body: bytes, shape: type[Body]) -> Body:
    try:
        return shape.model_validate_json(body.strip() or b"{}")
    except ValidationError as error:
        raise _explained(error) from None


def _explained(error: ValidationError) -> InvalidRequest:
    details = error.errors(include_input=False, include_url=False, include_context=False)
    if any(detail["type"] == "json_invalid" for detail in details):
        return MalformedBody("The body is not JSON.", FieldError("body", "is not JSON"))
    return invalid(details)


async def read_body(request: Request, *, limit: int) -> bytes:
    """The raw body.

    Raises:
        BodyTooLarge: It is larger than the limit; the rest is not read.
        BodyTooSlow: It did not arrive in time.
    """
    declared = header_value(request, b"content-length") or ""
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise _too_large(limit)
    incoming = request.receive
    body = incoming.at_once() if isinstance(incoming, Incoming) else None
    if body is not None:
        if len(body) > limit:
            raise _too_large(limit)
        return body
    try:
        return await within(BODY_DEADLINE, _collected(request, limit))
    except TimeoutError:
        raise BodyTooSlow(
            f"The body did not arrive within {BODY_DEADLINE} s.", FieldError("body", "too slow")
        ) from None
    except ClientDisconnect:
        raise MalformedBody("The request ended early.", FieldError("body", "incomplete")) from None


async def _collected(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The body is larger than {limit} bytes.", FieldError("body", f"longer than {limit} bytes")
    )


def _is_json(media_type: str | None) -> bool:
    if media_type == "application/json":
        return True
    return media_type is not None and media_type.partition(";")[0].strip().lower() == "application/json"


def _says_nothing(request: Request) -> bool:
    """Whether there is neither a body nor a claim about one: that is ``{}``, too."""
    return (
        header_value(request, b"content-type") is None
        and header_value(request, b"content-length") in (None, "0")
        and header_value(request, b"transfer-encoding") is None
    )


def invalid(details: Iterable[ErrorDetails]) -> InvalidRequest:
    """What pydantic found wrong with a request, field by field."""
    fields = [FieldError(_field(detail), _reason(detail)) for detail in details]
    names = ", ".join(dict.fromkeys(field.field for field in fields))
    return InvalidRequest(f"These fields cannot be used: {names}.", *fields)


def _field(detail: ErrorDetails) -> str:
    return ".".join(str(part) for part in detail["loc"])[:100] or "body"


def _reason(detail: ErrorDetails) -> str:
    if detail["type"] == "extra_forbidden":
        return "is decided by the server" if detail["loc"][-1] in SERVER_DECIDES else "is not known"
    return detail["msg"]
