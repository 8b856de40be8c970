"""The state as JSON, for tests and for the state page."""

import json
from dataclasses import asdict

from kombo_embed.sandbox.clock import MovableClock
from kombo_embed.sandbox.events import end_user, timestamp
from kombo_embed.sandbox.fault_orders import FaultOrder
from kombo_embed.sandbox.records import Delivery, Integration, Link
from kombo_embed.sandbox.state import State
from kombo_embed.sandbox.tools import find_tool


def report_state(state: State, clock: MovableClock) -> dict[str, object]:
    """Tell everything that the sandbox holds; `calls` and `integrations` are what most tests look at."""
    return {
        "now": timestamp(clock.now()),
        "calls": dict(state.calls),
        "integrations": [_integration(integration) for integration in state.integrations.values()],
        "deleted_integrations": list(state.deleted_integrations),
        "links": [_link(link, clock) for link in state.links.values()],
        "deliveries": [_delivery(delivery) for delivery in state.deliveries.values()],
        "faults": [report_fault(fault) for fault in state.faults],
        "settings": asdict(state.switches),
    }


def report_fault(fault: FaultOrder) -> dict[str, object]:
    """Tell of an ordered fault what was said in the order."""
    unset = FaultOrder(path=fault.path, mode=fault.mode)
    said = asdict(fault)
    return {
        name: said[name]
        for name in said
        if name in ("path", "mode", "times") or said[name] != getattr(unset, name)
    }


def _integration(integration: Integration) -> dict[str, object]:
    return {
        "id": integration.id,
        "tool": integration.tool,
        "tool_label": find_tool(integration.tool).label,
        "category": integration.category,
        "status": integration.status,
        "setup_status": integration.setup_status,
        "has_setup_steps": integration.has_setup_steps,
        "end_user": end_user(integration.end_user),
        "created_at": timestamp(integration.created_at),
        "updated_at": timestamp(integration.updated_at),
    }


def _link(link: Link, clock: MovableClock) -> dict[str, object]:
    return {
        "link": link.url,
        "kind": link.terms.kind,
        "link_type": link.terms.link_type,
        "language": link.terms.language,
        "category": link.terms.category,
        "tool": link.terms.tool,
        "integration_id": link.terms.integration_id,
        "end_user": end_user(link.terms.end_user),
        "options": asdict(link.terms.options),
        "created_at": timestamp(link.created_at),
        "expires_at": timestamp(link.expires_at),
        "expired": clock.now() >= link.expires_at,
    }


def _delivery(delivery: Delivery) -> dict[str, object]:
    return {
        "id": delivery.id,
        "event_id": delivery.event.id,
        "type": delivery.event.type,
        "status": delivery.status,
        "attempts": delivery.attempts,
        "answer": delivery.answer,
        "bad_signature": delivery.bad_signature,
        "replay": delivery.replay,
        "created_at": timestamp(delivery.created_at),
        "body": json.loads(delivery.event.body),
    }
