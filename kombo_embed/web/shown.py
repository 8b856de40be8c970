"""What a browser may see of a record."""

from __future__ import annotations

from datetime import UTC, datetime

from kombo_embed.integration import Integration


def show(integration: Integration) -> dict[str, object]:
    """An integration as a browser may see it: without Kombo's id."""
    return {
        "id": integration.public_id,
        "tool": integration.tool,
        "category": integration.category,
        "organization_name": integration.organization_name,
        "status": integration.status,
        "setup_status": integration.setup_status,
        "next_action": integration.next_action,
        "connected_at": utc(integration.connected_at),
        "updated_at": utc(integration.updated_at),
    }


def utc(moment: datetime) -> str:
    """RFC 3339, in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
