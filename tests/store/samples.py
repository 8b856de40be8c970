"""What Kombo could report, for the tests of the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from kombo_embed import EndUser, Event
from kombo_embed.clock import ManualClock
from kombo_embed.deliveries import Delivery
from kombo_embed.models import CacheKey, LinkRequest
from kombo_embed.ports import Clock
from kombo_embed.store.database import BUSY_SECONDS, Database
from kombo_embed.store.store import Store
from kombo_embed.upstream import ReportedIntegration, ReportedState, WebhookEvent

NOW = datetime.fromtimestamp(1_790_000_000, UTC)
ADA = EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")
REPORTED = ReportedIntegration(
    "personio:x", "personio", "acme", "Acme", "ada@acme.example", None, "INCOMPLETE"
)


def fixed_clock() -> ManualClock:
    """A clock that stands at `NOW` until it is advanced."""
    return ManualClock(time=NOW.timestamp, monotonic=lambda: 0.0)


@asynccontextmanager
async def opened_store(
    url: str,
    *,
    environment: str = "default",
    clock: Clock | None = None,
    busy_seconds: float = BUSY_SECONDS,
) -> AsyncIterator[Store]:
    store = Store(url, environment=environment, clock=clock or fixed_clock(), busy_seconds=busy_seconds)
    try:
        await store.open()
        yield store
    finally:
        await store.aclose()


def key(category: str, tool: str | None = None) -> CacheKey:
    return CacheKey("default", ADA, LinkRequest(category, "en", tool))


def created(event_id: str = "e1", **changes: Any) -> tuple[WebhookEvent, ReportedIntegration]:
    return WebhookEvent(event_id, "integration-created", {}), replace(REPORTED, **changes)


def state_changed(
    event_id: str, status: str, integration_id: str = "personio:x"
) -> tuple[WebhookEvent, ReportedState]:
    event = WebhookEvent(event_id, "integration-state-changed", {})
    return event, ReportedState(integration_id, status, None, None)


def taken_events(lanes: list[list[Delivery]]) -> list[Event]:
    """Return the events of leased deliveries, in the order of their writing."""
    deliveries = sorted((one for lane in lanes for one in lane), key=lambda one: one.event_row_id)
    return [delivery.event for delivery in deliveries]


async def register(store: Store, *types: str, name: str = "handler", now: datetime = NOW) -> dict[str, int]:
    """Register a handler of these types, as a process does; return the slots to take its deliveries."""
    await store.outbox.register({name: types}, now=now)
    return {name: 100}


async def complete(store: Store, token: str | None = None) -> bool:
    completion = await store.save_completion(REPORTED, activation_token=token or "token", origin_id="acme")
    assert completion is not None
    return completion.first


@asynccontextmanager
async def opened_database(url: str, *, busy_seconds: float = 5) -> AsyncIterator[Database]:
    database = Database(url, busy_seconds=busy_seconds)
    yield database
    await database.aclose()


async def read(database: Database, statement: Any) -> Any:
    """Run one statement in a transaction of its own."""

    async def work() -> Any:
        async with database.reading() as connection:
            return (await connection.execute(statement)).scalar_one()

    return await database.run_to_completion(work)
