"""Kombo's webhooks: the signature over the raw body, and what an event says. No I/O.

Source: docs.kombo.dev/webhooks, "Validate the data".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kombo_embed.errors import FieldError, InvalidRequest, WebhookRejected, WebhooksNotConfigured
from kombo_embed.models import ReportedIntegration, WebhookEvent

SIGNATURE_HEADER = "X-Kombo-Signature"
INTEGRATION_CREATED = "integration-created"


class _EventBody(BaseModel):
    id: str = Field(min_length=1, max_length=255)
    type: str = Field(min_length=1, max_length=255)
    data: dict[str, object] = {}


class _EndUser(BaseModel):
    origin_id: str | None = None
    creator_email: str | None = None
    organization_name: str | None = None


class _Created(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    id: str = Field(min_length=1, max_length=255)
    tool: str = Field(min_length=1, max_length=255)
    category: str | None = None
    end_user: _EndUser = _EndUser()


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


def read_event(body: bytes) -> WebhookEvent:
    """The event in a verified body. Unknown types and fields are accepted: Kombo adds some.

    Raises:
        InvalidRequest: The body is no event.
    """
    try:
        event = _EventBody.model_validate_json(body)
    except ValidationError as error:
        raise _not_an_event(error) from None
    return WebhookEvent(event_id=event.id, type=event.type, data=event.data)


def read_created(event: WebhookEvent) -> ReportedIntegration | None:
    """The integration that an ``integration-created`` tells of; None for events of another type.

    Raises:
        InvalidRequest: The event lacks the integration's id or tool.
    """
    if event.type != INTEGRATION_CREATED:
        return None
    try:
        created = _Created.model_validate(event.data)
    except ValidationError as error:
        raise _not_an_event(error, below="data") from None
    return ReportedIntegration(
        integration_id=created.id,
        tool=created.tool,
        origin_id=created.end_user.origin_id,
        organization_name=created.end_user.organization_name,
        email=created.end_user.creator_email,
        category=created.category,
    )


def _not_an_event(error: ValidationError, *, below: str = "") -> InvalidRequest:
    errors = tuple(
        FieldError(".".join([*filter(None, [below]), *map(str, detail["loc"])]) or "body", detail["msg"])
        for detail in error.errors(include_input=False, include_url=False)
    )
    return InvalidRequest("The body is signed, but is not an event of Kombo's.", *errors)
