"""What Kombo could tell, for the tests of the store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kombo_embed import EndUser
from kombo_embed.models import CacheKey, LinkRequest
from kombo_embed.store.store import Store
from kombo_embed.upstream import ReportedIntegration, WebhookEvent

ADA = EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")
REPORTED = ReportedIntegration(
    "personio:x", "personio", "acme", "Acme", "ada@acme.example", None, "INCOMPLETE"
)


def key(category: str, tool: str | None = None) -> CacheKey:
    return CacheKey("default", ADA, LinkRequest(category, "en", tool))


def created(event_id: str = "e1", **changes: Any) -> tuple[WebhookEvent, ReportedIntegration]:
    return WebhookEvent(event_id, "integration-created", {}), replace(REPORTED, **changes)


async def complete(store: Store, token: str | None = None) -> bool:
    completion = await store.save_completion(REPORTED, activation_token=token or "token", origin_id="acme")
    assert completion is not None
    return completion.first
