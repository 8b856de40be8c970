"""Verifies the signature of Kombo's webhooks and parses their events. No I/O.

Source: docs.kombo.dev/webhooks, "Validate the data".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime

from pydantic import BaseModel, ValidationError

from kombo_embed import upstream
from kombo_embed.errors import FieldError, InvalidRequest, WebhookRejected, WebhooksNotConfigured
from kombo_embed.kombo.decoding import KomboId, OriginId, decode
from kombo_embed.kombo.responses import OpenEnum

SIGNATURE_HEADER = "X-Kombo-Signature"
NOT_AN_EVENT = "The body is signed, but it is not an event of Kombo's."


class _EventBody(BaseModel):
    id: KomboId
    type: KomboId
    data: dict[str, object] | None = None


class _EndUser(BaseModel):
    origin_id: OriginId | None = None
    creator_email: str | None = None
    organization_name: str | None = None


class _Integration(BaseModel):
    """The data of ``integration-created`` and ``integration-deleted``."""

    id: KomboId
    tool: KomboId
    category: OpenEnum | None = None
    end_user: _EndUser | None = None


class _State(BaseModel):
    """The data of ``integration-state-changed``; older events lack the setup status."""

    integration_id: KomboId
    state: OpenEnum | None = None
    setup_status: OpenEnum | None = None
    qa_status: OpenEnum | None = None
    updated_at: datetime | None = None


class _Failure(BaseModel):
    """The data of ``connection-flow-failed``."""

    integration_tool: str | None = None
    integration_category: str | None = None
    end_user: _EndUser | None = None
    log_url: str | None = None


def sign(body: bytes, secret: str) -> str:
    """Return the signature of a body: HMAC-SHA256, base64url without padding, always 43 characters."""
    digest = hmac.digest(secret.encode(), body, hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def verify_signature(body: bytes, signature: str | None, secrets: Iterable[str]) -> None:
    """Raise `WebhooksNotConfigured` or `WebhookRejected` unless a secret signed exactly these bytes."""
    # Anyone could sign with an empty secret, so it counts as none.
    candidates = [sign(body, secret).encode() for secret in secrets if secret.strip()]
    if not candidates:
        raise WebhooksNotConfigured("Webhooks are not configured: KOMBO_WEBHOOK_SECRET is not set.")
    given = (signature or "").encode("utf-8", "surrogatepass")
    # Each secret is compared, so that the timing does not reveal which one is in use.
    matches = [hmac.compare_digest(given, candidate) for candidate in candidates]
    if not any(matches):
        raise WebhookRejected(f"{SIGNATURE_HEADER} is missing or does not sign this body.")


def parse_event(body: bytes) -> upstream.WebhookEvent:
    """Return the event in a verified body, or raise `InvalidRequest`.

    Unknown types and fields are accepted, because Kombo adds some.
    """
    try:
        event = _EventBody.model_validate(decode(body))
    except ValidationError as error:
        raise _not_an_event(error) from None
    except ValueError:
        raise InvalidRequest(NOT_AN_EVENT, FieldError("body", "is not JSON")) from None
    data = {} if event.data is None else event.data
    return upstream.WebhookEvent(event_id=event.id, type=event.type, data=data)


def parse_report(event: upstream.WebhookEvent) -> upstream.Report | None:
    """Return what an event reports about an integration or a flow; None for events of other types.

    Raises `InvalidRequest` if the event lacks what its type must have.
    """
    try:
        match event.type:
            case "integration-created":
                return _integration(_Integration.model_validate(event.data))
            case "integration-deleted":
                return upstream.ReportedDeletion(_integration(_Integration.model_validate(event.data)))
            case "integration-state-changed":
                return _state(_State.model_validate(event.data))
            case "connection-flow-failed":
                return _failure(_Failure.model_validate(event.data))
    except ValidationError as error:
        raise _not_an_event(error, below="data") from None
    return None


def _integration(data: _Integration) -> upstream.ReportedIntegration:
    end_user = data.end_user or _EndUser()
    return upstream.ReportedIntegration(
        integration_id=data.id,
        tool=data.tool,
        origin_id=end_user.origin_id,
        organization_name=end_user.organization_name,
        email=end_user.creator_email,
        category=data.category,
    )


def _state(data: _State) -> upstream.ReportedState:
    updated_at = data.updated_at
    if updated_at is not None:
        if updated_at.tzinfo is None:
            updated_at = updated_at.replace(tzinfo=UTC)
        try:
            updated_at = updated_at.astimezone(UTC)
        except OverflowError:
            updated_at = None  # outside the range of datetimes, so it cannot be compared
    return upstream.ReportedState(
        data.integration_id, data.state, data.setup_status, updated_at, data.qa_status
    )


def _failure(data: _Failure) -> upstream.FailedFlow:
    end_user = data.end_user or _EndUser()
    return upstream.FailedFlow(
        origin_id=end_user.origin_id,
        tool=data.integration_tool,
        category=data.integration_category,
        log_url=data.log_url,
        email=end_user.creator_email,
    )


def _not_an_event(error: ValidationError, *, below: str = "") -> InvalidRequest:
    errors = tuple(
        FieldError(".".join([*filter(None, [below]), *map(str, detail["loc"])]) or "body", detail["msg"])
        for detail in error.errors(include_input=False, include_url=False)
    )
    return InvalidRequest(NOT_AN_EVENT, *errors)
