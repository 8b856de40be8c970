from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from kombo_embed.ports import DeliveryOutcome
from kombo_embed.store.store import Store
from kombo_embed.upstream import ReportedIntegration, WebhookEvent
from tests.cli.runner import EMAIL, KOMBOS_ID
from tests.support import SQLITE_URL


def reported(tool: str) -> ReportedIntegration:
    # The escape sequence would colour a terminal.
    return ReportedIntegration(
        KOMBOS_ID.replace("personio", tool), tool, "acme", "Acme \x1b[31m", EMAIL, "HRIS"
    )


@pytest.fixture
async def records() -> None:
    """Integrations, one of them deleted; a dead letter, a failing, a delivered event; another environment."""
    store = Store(SQLITE_URL, environment="default", clock=time)
    await store.open()
    for number, tool in enumerate(["personio", "hibob", "workday"]):
        await store.save_event(WebhookEvent(f"e{number}", "integration-created", {}), reported(tool))
    now = datetime.now(UTC)
    later = now + timedelta(hours=1)
    dead, failing, delivered = await store.outbox.take(
        ["integration.connected"], limit=3, now=now, lease_seconds=10
    )
    outcomes = [
        DeliveryOutcome(dead, ("app.steady",), later, failed=True, dead=True),
        DeliveryOutcome(failing, (), later, failed=True),
        DeliveryOutcome(delivered),
    ]
    await store.outbox.save(outcomes, now=now)
    [*_, workday] = await store.find_integrations("acme")
    await store.save_deleted(workday)
    await store.aclose()
    other = Store(SQLITE_URL, environment="other", clock=time)
    await other.save_event(
        WebhookEvent("e", "integration-created", {}),
        ReportedIntegration("other:1", "other", "acme", None, None),
    )
    await other.aclose()
