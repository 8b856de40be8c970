"""The words of the pages for what the records name by codes."""

from __future__ import annotations

from datetime import datetime

from kombo_embed.event import EVENT_TYPES
from kombo_embed.integration import Integration
from kombo_embed.store.host_events import HostEvent
from kombo_embed.store.support.customers import Customer, CustomerSummary
from kombo_embed.store.support.history import Step

# By next action: the name of the status, its tone, and what the customer has to do.
STATUSES = {
    "none": ("Healthy", "good", "Nothing: it works."),
    "reconnect": ("Broken", "bad", "Reconnect it: the tool does not accept the stored credentials any more."),
    "enable": ("Switched off", "bad", "Nothing in the tool: it was switched off at Kombo. Enable it there."),
    "finish_setup": ("Setup unfinished", "warn", "Finish the setup that was begun."),
    "wait_for_sync": ("First sync", "info", "Wait: the first synchronization is running."),
    "pending": ("Checking", "plain", "Nothing yet: Kombo has not reported the status."),
    "deleted": ("Disconnected", "plain", "Connect it again if it is still needed."),
}
STEPS = {
    "link.connect": "Link handed out",
    "link.magic_link": "Magic link minted",
    "link.relink": "Reconnect link minted",
    "link.setup": "Setup link minted",
    "flow.failed": "Attempt failed",
    "flow.abandoned": "Gave up: the link expired",
    "integration.connected": "Connected",
    "integration.updated": "Changed",
    "integration.deleted": "Disconnected",
    "integration.duplicate": "Connected twice",
    "reconnected": "Reconnected",
    "setup_finished": "Setup finished",
    "disconnected": "Disconnected by a person",
    "erased": "Personal data erased",
    "integration_read": "Read again from Kombo",
    "event_replayed": "Event replayed",
    "event_resent": "Event sent again",
}
TONES = {
    "flow.failed": "bad",
    "flow.abandoned": "warn",
    "integration.connected": "good",
    "reconnected": "good",
    "setup_finished": "good",
    "integration.deleted": "bad",
    "disconnected": "bad",
}
STATUS_TONES = {"INVALID": "bad", "INACTIVE": "bad", "ACTIVE": "good"}
STATES = {
    "delivered": "good",
    "dead letter": "bad",
    "failing": "warn",
    "parked": "warn",
    "no handler": "plain",
    "waiting": "info",
    "in progress": "info",
}
# After an action, by the parameter of the redirect.
DONE = {
    "replayed": "The deliveries are due now. The running app makes them within seconds.",
    "nothing": "There is nothing to do: no delivery is unfinished, or no handler exists for this event.",
    "resent": "The event is sent again now, also to handlers that have succeeded.",
    "read": "Read again from Kombo. What changed is recorded.",
    "unknown": "Kombo does not know this integration. Nothing was changed.",
}


def action_of(integration: Integration, customer: Customer) -> str:
    """Return the key of an integration's status in `STATUSES`."""
    return "deleted" if integration.integration_id in customer.deleted_at else integration.next_action


def summary_of(summary: CustomerSummary) -> list[tuple[str, int]]:
    """Return the statuses of a customer and how many integrations have each, the most urgent first."""
    order = ["reconnect", "enable", "finish_setup", "pending", "wait_for_sync", "none"]
    return [(one, summary.next_actions[one]) for one in order if summary.next_actions[one]]


def changes_of(step: Step) -> list[str]:
    """Return what changed at a step, for people."""
    changes = step.data.get("changes")
    if not isinstance(changes, dict):
        return []
    names = {"status": "status", "setup_status": "setup", "category": "category", "origin_id": "customer"}
    return [
        f"{names[name]}: {change.get('from') or 'unknown'} → {change.get('to') or 'unknown'}"
        for name, change in changes.items()
        if name in names and isinstance(change, dict)
    ]


def tone_of(step: Step) -> str:
    """Return the tone of a step: good, bad, a warning or plain."""
    new = step.data.get("changes", {}).get("status", {}).get("to")
    return STATUS_TONES.get(new) or TONES.get(step.kind, "plain")


def name_of(event: HostEvent) -> str | None:
    """Return the customer's name in an event; versions before did not write it."""
    return (event.integration or {}).get("organization_name")


def is_expired(moment: object, now: datetime) -> bool:
    """Return whether a link has expired."""
    return isinstance(moment, datetime) and moment <= now


FUNCTIONS = (action_of, summary_of, changes_of, tone_of, name_of, is_expired)
CONSTANTS = {"STATUSES": STATUSES, "STEPS": STEPS, "STATES": STATES, "DONE": DONE, "EVENT_TYPES": EVENT_TYPES}
GLOBALS = {**CONSTANTS, **{one.__name__: one for one in FUNCTIONS}}
