"""Kombo's webhook events as bytes. Sources: docs.kombo.dev/webhooks and Kombo's SDKs."""

import json
from collections.abc import Mapping
from datetime import datetime

from kombo_embed.sandbox.catalogue import read_json
from kombo_embed.sandbox.records import Event, Integration, Link, new_id
from kombo_embed.sandbox.responses import end_user_data, timestamp


def new_event(event_type: str, data: Mapping[str, object]) -> Event:
    """Return an event of any type, also of one that Kombo does not have."""
    event_id = new_id()
    # Indented on purpose: a receiver that verifies what it parsed and serialized again must fail here.
    body = json.dumps({"id": event_id, "type": event_type, "data": data}, indent=2, ensure_ascii=False)
    return Event(id=event_id, type=event_type, body=body.encode())


def integration_created(integration: Integration) -> Event:
    """Return the event of a finished flow: docs.kombo.dev/api-reference/integration-created."""
    return new_event("integration-created", _integration_data(integration))


def integration_deleted(integration: Integration, deleted_at: datetime) -> Event:
    """Return the event of a deletion: docs.kombo.dev/hris/guides/webhooks."""
    data = _integration_data(integration) | {"deleted_at": timestamp(deleted_at)}
    return new_event("integration-deleted", data)


def integration_state_changed(integration: Integration) -> Event:
    """Return the event of a changed state: docs.kombo.dev/api-reference/integration-state-changed."""
    data = {
        # Kombo prefixes these three names, except where an integration begins or ends.
        "integration_tool": integration.tool,
        "integration_id": integration.id,
        "integration_category": integration.category,
        "end_user": end_user_data(integration.end_user),
        "qa_status": "PASSED",
        "setup_status": integration.setup_status,
        "state": integration.status,
        "updated_at": timestamp(integration.updated_at),
    }
    return new_event("integration-state-changed", data)


def data_changed(integration: Integration) -> Event:
    """Return the event of new data: docs.kombo.dev/api-reference/data-changed."""
    models = read_json("models.json")[integration.category]["read_models"]
    data = {
        "integration_id": integration.id,
        "integration_tool": integration.tool,
        "integration_category": integration.category,
        "changed_models": [{"name": model["id"]} for model in models],
    }
    return new_event("data-changed", data)


def connection_flow_failed(link: Link, tool: str) -> Event:
    """Return the event of an error in a flow that may still succeed: docs.kombo.dev/hris/guides/webhooks."""
    data = {
        "integration_tool": tool,
        "integration_category": link.terms.category,
        "end_user": end_user_data(link.terms.end_user),
        "log_url": f"{link.base_url}/?log={new_id()}",
    }
    return new_event("connection-flow-failed", data)


def _integration_data(integration: Integration) -> dict[str, object]:
    return {
        "id": integration.id,
        "tool": integration.tool,
        "category": integration.category,
        "end_user": end_user_data(integration.end_user),
    }
