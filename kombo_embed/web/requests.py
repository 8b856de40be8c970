"""Parses request bodies, checking in this order: content type, size, JSON, fields."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, from_json
from starlette.requests import Request

from kombo_embed.core.link_request import LinkChoice
from kombo_embed.errors import (
    BodyTooLarge,
    FieldError,
    InvalidRequest,
    MalformedBody,
    UnsupportedMediaType,
)
from kombo_embed.kombo.requests import TOKEN
from kombo_embed.models import Category, Language
from kombo_embed.web.bodies import read_body

QUERY_MAX_BYTES, CONTENT_TYPE_MAX_BYTES = 1024, 255
JSON_MAX_BYTES = 8 * 1024
FIELD_NAME_MAX_LENGTH = 100
REPORTED_FIELDS = 10
CHARSET = re.compile(r"""charset\s*=\s*"?([^\s";]*)""")
CACHED_BODIES, CACHED_MAX_BYTES = 128, 256
SERVER_FIELDS = {
    *("end_user_email", "end_user_organization_name", "end_user_origin_id"),
    *("scope_config_id", "remote_environment", "link_type"),
    *("enable_filtering", "enable_field_mapping", "enable_static_ips"),
}
Body = TypeVar("Body", bound=BaseModel)


class _StrictBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class LinkBody(_StrictBody):
    """``POST /links``: what the browser may choose."""

    integration_category: Category | None = None
    integration_tool: str | None = Field(default=None, min_length=1, max_length=255, pattern=r"^[\w.-]+$")
    language: Language | None = None
    fresh: bool = False
    prefetch: bool = Field(default=False, description="Only fill the cache; the link is not sent.")


class RelinkBody(_StrictBody):
    """``POST /integrations/{id}/relink`` and ``/setup-link``."""

    language: Language | None = None
    fresh: bool = False


class CompletionBody(_StrictBody):
    """``POST /completions``."""

    # Only described here: an error of another form is the core's.
    activation_token: str = Field(json_schema_extra={"pattern": f"^{TOKEN.pattern}$"})


class EmptyBody(_StrictBody):
    """``DELETE /integrations/{id}``: no body, or ``{}``."""


async def parse_json(request: Request, model: type[Body]) -> Body:
    """Return the request's JSON body; an empty body counts as ``{}``.

    Raises `InvalidRequest`, which names each invalid field, if the body does not fit the model.
    """
    return _validate(model, await _read_json(request))


async def parse_link_choice(request: Request) -> LinkChoice:
    """Return what the body of ``POST /links`` chooses, with the errors of `parse_json`."""
    body = await _read_json(request)
    return _cached_link_choice(body) if len(body) <= CACHED_MAX_BYTES else _link_choice(body)


def invalid_fields(details: Iterable[ErrorDetails]) -> InvalidRequest:
    """Return pydantic's findings as an error that names the first ten invalid fields."""
    return invalid([FieldError(_field(one), _reason(one)) for one in islice(details, REPORTED_FIELDS)])


def invalid(fields: list[FieldError]) -> InvalidRequest:
    """Return an error that names these fields."""
    names = ", ".join(dict.fromkeys(field.field for field in fields))
    return InvalidRequest(f"These fields are not valid: {names}.", *fields)


async def _read_json(request: Request) -> bytes:
    reason = _unsupported(request)
    if reason is None:
        return await read_body(request, limit=JSON_MAX_BYTES)
    if "content-type" not in request.headers:
        # No header needs to announce a body in HTTP/2, so its first byte decides. Without one, it is empty.
        with suppress(BodyTooLarge):
            return await read_body(request, limit=0)
    raise UnsupportedMediaType(
        "Send JSON, with Content-Type: application/json.", FieldError("body", reason)
    ) from None


def _validate(model: type[Body], body: bytes) -> Body:
    try:
        content = from_json(body.strip() or b"{}", allow_inf_nan=False)
    except ValueError:  # not JSON, or nested too deeply
        raise MalformedBody("The body is not valid JSON.", FieldError("body", "is not valid JSON")) from None
    if not isinstance(content, dict):
        raise invalid([FieldError("body", "must be a JSON object")])
    # Not left to pydantic, which spends more on hundreds of unknown fields than on a hundred good bodies.
    known = model.model_fields.keys()
    unknown = [name for name in content if name not in known]
    try:
        if not unknown:
            return model.model_validate(content)
        model.model_validate({name: content[name] for name in content.keys() & known})
        known_at_fault: list[FieldError] = []
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False, include_context=False)
        known_at_fault = [FieldError(_field(detail), detail["msg"]) for detail in details]
    fields = [*known_at_fault, *(_unknown_field(name) for name in unknown[:REPORTED_FIELDS])]
    raise invalid(fields[:REPORTED_FIELDS])


def _link_choice(body: bytes) -> LinkChoice:
    link = _validate(LinkBody, body)
    return LinkChoice(
        link.integration_category, link.integration_tool, link.language, link.fresh, link.prefetch
    )


# The pages of an app send a handful of different bodies. Parsing each of them adds 6 % to the CPU of a cached
# link (measured as for `kombo_embed.web.bodies._within`).
_cached_link_choice = functools.lru_cache(CACHED_BODIES)(_link_choice)


def _unsupported(request: Request) -> str | None:
    """Return why the body is not JSON in UTF-8, as far as its headers say; None if they say that it is."""
    named = [one for one in request.headers.raw if one[0] in (b"content-type", b"content-encoding")]
    if named == [(b"content-type", b"application/json")]:
        return None
    if sum(len(value) for _, value in named) > CONTENT_TYPE_MAX_BYTES:
        return "its content type is too long"
    types = [value.decode("latin-1").lower() for name, value in named if name == b"content-type"]
    media_type, _, parameters = types[0].partition(";") if types else ("", "", "")
    if len(types) != 1 or media_type.strip() != "application/json":
        return "its content type is not application/json"
    if any(value.lower() != b"identity" for name, value in named if name == b"content-encoding"):
        return "is encoded; send it without a Content-Encoding"
    charsets = CHARSET.findall(parameters)
    return None if set(charsets) <= {"utf-8", "utf8"} else "its charset is not utf-8"


def _unknown_field(name: str) -> FieldError:
    reason = "is set by the server" if name in SERVER_FIELDS else "is not a known field"
    return FieldError(name[:FIELD_NAME_MAX_LENGTH], reason)


def _field(detail: ErrorDetails) -> str:
    return ".".join(str(part) for part in detail["loc"])[:FIELD_NAME_MAX_LENGTH] or "body"


def _reason(detail: ErrorDetails) -> str:
    if detail["type"] == "extra_forbidden":
        return "is set by the server" if detail["loc"][-1] in SERVER_FIELDS else "is not a known field"
    return detail["msg"]
