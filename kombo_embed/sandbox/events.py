"""The webhook events that Kombo sends, as bytes. Source: docs.kombo.dev/webhooks and its SDKs.

Mind the two sets of names: `id`, `tool`, `category` where an integration begins or ends,
`integration_id`, `integration_tool`, `integration_category` everywhere else.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime

from kombo_embed.sandbox.identifiers import new_id
from kombo_embed.sandbox.records import EndUserRecord, Event, Integration, Link

SIGNATURE_HEADER = "X-Kombo-Signature"


def sign(body: bytes, webhook_secret: str) -> str:
    """Sign raw bytes as Kombo does: HMAC-SHA256, base64url without padding (docs.kombo.dev/webhooks)."""
    digest = hmac.new(webhook_secret.encode(), body, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def new_event(event_type: str, data: Mapping[str, object]) -> Event:
    """Make an event of any type, a type that nobody knows included."""
    event_id = new_id()
    # Indented on purpose: a receiver that parses and re-serialises before it verifies must fail here.
    body = json.dumps({"id": event_id, "type": event_type, "data": data}, indent=2, ensure_ascii=False)
    return Event(id=event_id, type=event_type, body=body.encode())


def integration_created(integration: Integration) -> Event:
    """A flow was finished: docs.kombo.dev/api-reference/integration-created."""
    return new_event("integration-created", _integration(integration))


def integration_deleted(integration: Integration, deleted_at: datetime) -> Event:
    """An integration is gone for ever: docs.kombo.dev/hris/guides/webhooks."""
    data = _integration(integration) | {"deleted_at": timestamp(deleted_at)}
    return new_event("integration-deleted", data)


def integration_state_changed(integration: Integration) -> Event:
    """Credentials, setup or activity changed: docs.kombo.dev/api-reference/integration-state-changed."""
    data = {
        "integration_tool": integration.tool,
        "integration_id": integration.id,
        "integration_category": integration.category,
        "end_user": end_user(integration.end_user),
        "qa_status": "PASSED",
        "setup_status": integration.setup_status,
        "state": integration.status,
        "updated_at": timestamp(integration.updated_at),
    }
    return new_event("integration-state-changed", data)


def connection_flow_failed(link: Link, tool: str) -> Event:
    """Something went wrong within a flow, which may still succeed: docs.kombo.dev/hris/guides/webhooks."""
    data = {
        "integration_tool": tool,
        "integration_category": link.terms.category,
        "end_user": end_user(link.terms.end_user),
        "log_url": f"{link.base_url}/?log={new_id()}",
    }
    return new_event("connection-flow-failed", data)


def end_user(person: EndUserRecord) -> dict[str, str | None]:
    """The nested form of the end user, in webhooks and in the integration's details."""
    return {
        "origin_id": person.origin_id,
        "creator_email": person.email,
        "organization_name": person.organization_name,
    }


def timestamp(moment: datetime) -> str:
    """Write a time as Kombo does: UTC, milliseconds, Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _integration(integration: Integration) -> dict[str, object]:
    return {
        "id": integration.id,
        "tool": integration.tool,
        "category": integration.category,
        "end_user": end_user(integration.end_user),
    }
