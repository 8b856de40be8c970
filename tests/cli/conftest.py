from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kombo_embed.deliveries import DeliveryOutcome
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
    types = {"app.steady": ["integration.connected"], "app.shaky": ["integration.connected"]}
    await store.outbox.register(types, now=datetime.now(UTC))
    for number, tool in enumerate(["personio", "hibob", "workday"]):
        await store.save_event(WebhookEvent(f"e{number}", "integration-created", {}), reported(tool))
    now = datetime.now(UTC)
    outcomes = []
    for name in types:
        [dead], [failing], [delivered] = await store.outbox.take({name: 3}, now=now, lease_seconds=10)
        outcomes += [DeliveryOutcome(one) for one in (dead, failing, delivered)]
    outcomes[3] = replace(outcomes[3], error="RuntimeError")
    outcomes[4] = replace(outcomes[4], error="RuntimeError", retry_seconds=3600)
    await store.outbox.save(outcomes, now=now, lease_seconds=10)
    [*_, workday] = await store.find_integrations("acme")
    await store.save_deleted(workday)
    await store.aclose()
    other = Store(SQLITE_URL, environment="other", clock=time)
    await other.save_event(
        WebhookEvent("e", "integration-created", {}),
        ReportedIntegration("other:1", "other", "acme", None, None),
    )
    await other.aclose()
