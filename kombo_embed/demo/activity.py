"""What happened, for people to read: the last events of each customer, in memory.

It shows what handlers of `KomboEmbed.on` can be used for. A real host would start its first sync here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC

from kombo_embed import Event
from kombo_embed.demo.people import name_of

KEPT = 100  # events per customer

Entry = dict[str, str | None]


class Activity:
    """The newest events of each customer.

    Args:
        origin_ids: The customers to remember events of; those of anybody else are let go.
    """

    def __init__(self, origin_ids: Iterable[str]) -> None:
        self._entries: dict[str, deque[Entry]] = {origin_id: deque(maxlen=KEPT) for origin_id in origin_ids}

    def note(self, event: Event) -> None:
        """Remember an event, once: handlers are called at least once."""
        entries = self._entries.get(event.origin_id or "")
        if entries is None or any(entry["id"] == event.id for entry in entries):
            return
        entries.appendleft(_entry(event))

    def of(self, origin_id: str) -> list[Entry]:
        """The events of one customer, newest first."""
        return list(self._entries.get(origin_id, ()))


def _entry(event: Event) -> Entry:
    """What a browser may see: neither Kombo's ids nor anybody's email."""
    shown = {
        "id": event.id,
        "type": event.type,
        "occurred_at": event.occurred_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    integration = event.integration
    if integration is None:
        return shown | _without_record(event.data)
    return shown | {
        "tool": integration.tool,
        "category": integration.category,
        "status": integration.status,
        "setup_status": integration.setup_status,
        "by": name_of(integration.email),
    }


def _without_record(data: Mapping[str, object]) -> Entry:
    """The useful part of a failed flow, or of an event that is handed on as Kombo sent it (``kombo.event``).

    Kombo's names are those of docs.kombo.dev/webhooks.
    """
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
