"""Kombo's webhooks: the signature over the raw body, and what an event says. No I/O.

Source: docs.kombo.dev/webhooks, "Validate the data".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from kombo_embed.errors import FieldError, InvalidRequest, WebhookRejected, WebhooksNotConfigured
from kombo_embed.models import ORIGIN_ID_MAX_LENGTH
from kombo_embed.upstream import (
    FailedFlow,
    Report,
    ReportedDeletion,
    ReportedIntegration,
    ReportedState,
    WebhookEvent,
)

SIGNATURE_HEADER = "X-Kombo-Signature"
NOT_AN_EVENT = "The body is signed, but is not an event of Kombo's."
DIGITS_MAX = 300
LONE_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


Word = Annotated[str, Field(max_length=64)]  # one of Kombo's enumerations, to which it may add


class _EventBody(BaseModel):
    id: str = Field(min_length=1, max_length=255)
    type: str = Field(min_length=1, max_length=255)
    data: dict[str, object] | None = None


class _EndUser(BaseModel):
    origin_id: str | None = Field(default=None, max_length=ORIGIN_ID_MAX_LENGTH)
    creator_email: str | None = None
    organization_name: str | None = None


class _Integration(BaseModel):
    """The data of ``integration-created`` and ``integration-deleted``."""

    id: str = Field(min_length=1, max_length=255)
    tool: str = Field(min_length=1, max_length=255)
    category: Word | None = None
    end_user: _EndUser | None = None


class _State(BaseModel):
    """The data of ``integration-state-changed``; older ones lack the setup status."""

    integration_id: str = Field(min_length=1, max_length=255)
    state: Word | None = None
    setup_status: Word | None = None
    qa_status: Word | None = None
    updated_at: datetime | None = None


class _Failure(BaseModel):
    """The data of ``connection-flow-failed``."""

    integration_tool: str | None = None
    integration_category: str | None = None
    end_user: _EndUser | None = None
    log_url: str | None = None


def sign(body: bytes, secret: str) -> str:
    """The signature of a body: HMAC-SHA256, base64url without padding, always 43 characters."""
    digest = hmac.digest(secret.encode(), body, hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def verify(body: bytes, signature: str | None, secrets: Iterable[str]) -> None:
    """Return if one of the secrets signed exactly these bytes.

    Raises:
        WebhooksNotConfigured: There is no secret: nothing can be believed.
        WebhookRejected: No secret made this signature.
    """
    candidates = [sign(body, secret).encode() for secret in secrets]
    if not candidates:
        raise WebhooksNotConfigured("Webhooks are not set up here: KOMBO_WEBHOOK_SECRET is not set.")
    given = (signature or "").encode("utf-8", "surrogatepass")
    # All are compared, so that the time taken does not tell which secret is in use.
    matches = [hmac.compare_digest(given, candidate) for candidate in candidates]
    if not any(matches):
        raise WebhookRejected(f"{SIGNATURE_HEADER} is missing or is not this body's signature.")


def parse_event(body: bytes) -> WebhookEvent:
    """The event in a verified body. Unknown types and fields are accepted: Kombo adds some.

    Raises:
        InvalidRequest: The body is no event.
    """
    try:
        event = _EventBody.model_validate(_read_json(_without_lone_surrogates(body)))
    except ValidationError as error:
        raise _not_an_event(error) from None
    except (ValueError, RecursionError):
        raise InvalidRequest(NOT_AN_EVENT, FieldError("body", "is not JSON")) from None
    data = {} if event.data is None else event.data
    return WebhookEvent(event_id=event.id, type=event.type, data=data)


def parse_report(event: WebhookEvent) -> Report | None:
    """What an event tells of an integration or a flow; None for events of other types.

    Raises:
        InvalidRequest: The event lacks what its type must have.
    """
    try:
        match event.type:
            case "integration-created":
                return _integration(_Integration.model_validate(event.data))
            case "integration-deleted":
                return ReportedDeletion(_integration(_Integration.model_validate(event.data)))
            case "integration-state-changed":
                return _state(_State.model_validate(event.data))
            case "connection-flow-failed":
                return _failure(_Failure.model_validate(event.data))
    except ValidationError as error:
        raise _not_an_event(error, below="data") from None
    return None


def _read_json(body: bytes) -> object:
    return _DECODER.decode(body.decode())  # UTF-8, and nothing else (RFC 8259, 8.1)


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


def _short(digits: str) -> int | str:
    return int(digits) if len(digits) <= DIGITS_MAX else digits


# Numbers that databases cannot hold stay as they were written: nobody here counts with them.
_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, parse_int=_short)


def _without_lone_surrogates(body: bytes) -> bytes:
    # Half an emoji: JavaScript makes them by cutting a text, and no database can hold one.
    if LONE_SURROGATE.search(body) is None:
        return body
    try:
        return json.dumps(json.loads(body), ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return body  # no JSON: whoever reads it says so


def _integration(data: _Integration) -> ReportedIntegration:
    end_user = data.end_user or _EndUser()
    return ReportedIntegration(
        integration_id=data.id,
        tool=data.tool,
        origin_id=end_user.origin_id,
        organization_name=end_user.organization_name,
        email=end_user.creator_email,
        category=data.category,
    )


def _state(data: _State) -> ReportedState:
    updated_at = data.updated_at
    if updated_at is not None:
        if updated_at.tzinfo is None:
            updated_at = updated_at.replace(tzinfo=UTC)
        try:
            updated_at = updated_at.astimezone(UTC)
        except OverflowError:
            updated_at = None  # no time that anything can be compared with
    return ReportedState(data.integration_id, data.state, data.setup_status, updated_at, data.qa_status)


def _failure(data: _Failure) -> FailedFlow:
    origin_id = data.end_user.origin_id if data.end_user else None
    return FailedFlow(origin_id, data.integration_tool, data.integration_category, data.log_url)


def _not_an_event(error: ValidationError, *, below: str = "") -> InvalidRequest:
    errors = tuple(
        FieldError(".".join([*filter(None, [below]), *map(str, detail["loc"])]) or "body", detail["msg"])
        for detail in error.errors(include_input=False, include_url=False)
    )
    return InvalidRequest(NOT_AN_EVENT, *errors)
