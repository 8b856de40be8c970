"""The audit trail: who connected, reconnected, finished the setup, disconnected or minted a magic link."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select

from kombo_embed import EndUser
from kombo_embed.clock import ManualClock
from kombo_embed.errors import StoreUnavailable
from kombo_embed.models import CacheKey, RelinkRequest, SetupRequest
from kombo_embed.store.audit import AuditEntry
from kombo_embed.store.store import Store
from kombo_embed.store.support import RecordsReader
from kombo_embed.store.tables import malformed_events
from kombo_embed.upstream import ReportedState, WebhookEvent
from tests.store.samples import (
    ADA,
    NOW,
    REPORTED,
    created,
    fixed_clock,
    key,
    opened_database,
    opened_store,
    read,
    register,
    taken_events,
)

BOB = EndUser(email="bob@acme.example", organization_name="Acme", origin_id="acme")


@pytest.fixture
def clock() -> ManualClock:
    return fixed_clock()


@pytest.fixture
async def store(database_url: str, clock: ManualClock) -> AsyncIterator[Store]:
    async with opened_store(database_url, clock=clock) as store:
        yield store


async def entries(url: str, clock: ManualClock) -> list[AuditEntry]:
    """Return the audit trail, oldest first."""
    async with RecordsReader(url, environment="default", clock=clock).opened() as records:
        return [*reversed(await records.audit(origin_id=None, limit=100, before=None))]


async def acts(url: str, clock: ManualClock) -> list[tuple[str, str | None]]:
    return [(entry.action, entry.actor) for entry in await entries(url, clock)]


async def save_state(store: Store, event_id: str, status: str | None, setup_status: str | None) -> None:
    event = WebhookEvent(event_id, "integration-state-changed", {})
    await store.save_event(event, ReportedState("personio:x", status, setup_status, None))


async def test_each_act_is_written_once_with_its_actor(
    store: Store, database_url: str, clock: ManualClock
) -> None:
    await store.save_completion(REPORTED, activation_token="t", origin_id="acme", actor=ADA.email)
    await store.save_completion(REPORTED, activation_token="t", origin_id="acme", actor=ADA.email)
    await store.save_event(*created())
    await store.save_minted_link(CacheKey("default", ADA, SetupRequest("personio:x", "en")), 3600)
    await save_state(store, "e2", "ACTIVE", "COMPLETED")
    await save_state(store, "e3", "INVALID", None)
    await store.save_minted_link(CacheKey("default", ADA, RelinkRequest("personio:x", "en")), 3600)
    await store.save_minted_link(CacheKey("default", BOB, RelinkRequest("personio:x", "en")), 3600)
    await save_state(store, "e4", "ACTIVE", "COMPLETED")
    await save_state(store, "e5", "ACTIVE", "COMPLETED")
    await store.save_minted_link(key("HRIS"), 3600, link_type="MAGIC_LINK", actor="command line")
    [integration] = await store.find_integrations("acme")
    for _ in range(2):
        await store.save_deleted(integration, actor=BOB.email)
    assert await acts(database_url, clock) == [
        ("connected", ADA.email),
        ("setup_finished", ADA.email),
        ("reconnected", BOB.email),
        ("magic_link_minted", "command line"),
        ("disconnected", BOB.email),
    ]
    found = await entries(database_url, clock)
    assert {entry.origin_id for entry in found} == {"acme"}
    assert {entry.at for entry in found} == {NOW}
    assert found[0].detail == {"tool": "personio", "category": None}
    assert "ada@" not in repr(found)


async def test_the_event_of_a_reconnection_or_of_a_finished_setup_has_the_same_actor(store: Store) -> None:
    slots = await register(store, "integration.updated")
    await store.save_event(*created())
    await store.save_minted_link(CacheKey("default", ADA, SetupRequest("personio:x", "en")), 3600)
    await save_state(store, "e2", "ACTIVE", "COMPLETED")
    await save_state(store, "e3", "INVALID", None)
    await store.save_minted_link(CacheKey("default", BOB, RelinkRequest("personio:x", "en")), 3600)
    await save_state(store, "e4", "ACTIVE", None)
    events = taken_events(await store.outbox.take(slots, now=NOW, lease_seconds=10))
    assert [event.actor for event in events] == [ADA.email, None, BOB.email]


async def test_what_only_a_webhook_reports_has_the_person_that_kombo_names(
    store: Store, database_url: str, clock: ManualClock
) -> None:
    await store.save_event(*created())
    await store.save_event(*created("e2", integration_id="personio:y", email=None))
    # The customer reconnects in a way that is not known here.
    await save_state(store, "e3", "INVALID", None)
    await save_state(store, "e4", "ACTIVE", None)
    assert await acts(database_url, clock) == [
        ("connected", ADA.email),
        ("connected", None),
        ("reconnected", None),
    ]


async def test_an_act_that_fails_leaves_no_entry(store: Store, database_url: str, clock: ManualClock) -> None:
    async with opened_database(database_url) as database, database.writing() as connection:
        await connection.exec_driver_sql("ALTER TABLE kombo_embed_audit RENAME TO hidden")
    with pytest.raises(StoreUnavailable):
        await store.save_completion(REPORTED, activation_token="t", origin_id="acme")
    async with opened_database(database_url) as database, database.writing() as connection:
        await connection.exec_driver_sql("ALTER TABLE hidden RENAME TO kombo_embed_audit")
    assert await store.find_integrations("acme") == []
    await store.save_completion(REPORTED, activation_token="t", origin_id="acme")
    assert await acts(database_url, clock) == [("connected", ADA.email)]


async def test_the_audit_trail_has_a_retention_of_its_own(
    store: Store, database_url: str, clock: ManualClock
) -> None:
    await store.save_event(*created())
    clock.advance(100 * 86_400)
    await store.save_event(*created("e2", integration_id="personio:y"))
    now = NOW + timedelta(days=100)
    await prune(store, before=now - timedelta(days=90), audit_before=now - timedelta(days=730))
    assert len(await acts(database_url, clock)) == 2
    await prune(store, before=now - timedelta(days=90), audit_before=now - timedelta(days=50))
    assert [entry.integration_id for entry in await entries(database_url, clock)] == ["personio:y"]


async def test_malformed_bodies_are_kept_for_seven_days_at_most(
    store: Store, database_url: str, clock: ManualClock
) -> None:
    await store.save_malformed_event(b"a", reason="x")
    clock.advance(7 * 86_400 - 1)
    await store.save_malformed_event(b"b", reason="x")
    clock.advance(2)
    count = select(func.count()).select_from(malformed_events)
    async with opened_database(database_url) as database:
        await prune(store, before=NOW - timedelta(days=90), audit_before=NOW - timedelta(days=730))
        assert await read(database, count) == 1
        await prune(store, before=NOW + timedelta(days=8), audit_before=NOW - timedelta(days=730))
        assert await read(database, count) == 0, "a shorter retention applies to them, too"


async def prune(store: Store, *, before: datetime, audit_before: datetime) -> None:
    while await store.prune(before=before, audit_before=audit_before, limit=10):
        pass
