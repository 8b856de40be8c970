"""The last events of each customer, in memory, as people read them.

An example of what handlers of `KomboEmbed.on` can do. A real host would start its first sync here.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC

from kombo_embed import Event
from kombo_embed.demo.people import name_of

EVENTS_PER_CUSTOMER = 100

Entry = dict[str, str | None]


class Activity:
    """The newest events of each of these customers; those of other origin ids are ignored."""

    def __init__(self, origin_ids: Iterable[str]) -> None:
        self._entries: dict[str, deque[Entry]] = {
            origin_id: deque(maxlen=EVENTS_PER_CUSTOMER) for origin_id in origin_ids
        }

    async def add(self, event: Event) -> None:
        """Add an event, once: handlers may be called more than once per event."""
        entries = self._entries.get(event.origin_id or "")
        if entries is None or any(entry["id"] == event.id for entry in entries):
            return
        entries.appendleft(_entry(event))

    def of(self, origin_id: str) -> list[Entry]:
        """Return the events of one customer, newest first."""
        return list(self._entries.get(origin_id, ()))


def _entry(event: Event) -> Entry:
    # A browser may see neither Kombo's ids nor an email address.
    entry = {
        "id": event.id,
        "type": event.type,
        "occurred_at": event.occurred_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    integration = event.integration
    if integration is None:
        return entry | _without_integration(event.data)
    return entry | {
        "tool": integration.tool,
        "category": integration.category,
        "status": integration.status,
        "setup_status": integration.setup_status,
        "by": name_of(integration.email),
    }


def _without_integration(data: Mapping[str, object]) -> Entry:
    # A failed flow, or an event that kombo-embed passes on as Kombo sent it (``kombo.event``), with the names
    # of docs.kombo.dev/webhooks.
    sent = data.get("data")
    if not isinstance(sent, dict):
        return {name: _text(data.get(name)) for name in ("tool", "category")}
    end_user = sent.get("end_user")
    return {
        "kombo_type": _text(data.get("type")),
        "tool": _text(sent.get("integration_tool") or sent.get("tool")),
        "category": _text(sent.get("integration_category") or sent.get("category")),
        "status": _text(sent.get("state")),
        "setup_status": _text(sent.get("setup_status")),
        "by": name_of(end_user.get("creator_email")) if isinstance(end_user, dict) else None,
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
