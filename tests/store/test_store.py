"""The store's guarantees, the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from kombo_embed.errors import StoreUnavailable
from kombo_embed.integration import Completion
from kombo_embed.ports import DeliveryOutcome
from kombo_embed.store.store import Store
from kombo_embed.store.tables import metadata, outbox
from kombo_embed.upstream import ReportedState, WebhookEvent
from tests.store.samples import NOW, REPORTED, complete, created, key, opened_store, state_changed

CONNECTED = ["integration.connected"]
LATER = NOW + timedelta(seconds=61)


@pytest.fixture
async def stores(database_url: str) -> AsyncIterator[list[Store]]:
    """Four processes' stores on one database."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(opened_store(database_url)) for _ in range(4)]


async def test_an_integration_reported_in_several_ways_and_repeatedly_is_one_record(store: Store) -> None:
    assert await complete(store) is True
    assert await complete(store) is False
    assert await complete(store, "another token") is False
    await store.save_event(*created("e1", category="ATS"))
    await store.save_event(*created("e2"))
    [found] = await store.find_integrations("acme")
    assert found.integration_id == "personio:x"
    # The webhook adds what the token exchange did not report.
    assert (found.setup_status, found.category) == ("INCOMPLETE", "ATS")


async def test_a_closed_store_finishes_its_work_and_rejects_more_until_it_is_opened_again(
    store: Store,
) -> None:
    running = asyncio.create_task(complete(store))
    await asyncio.sleep(0)
    await store.aclose()
    assert await running is True
    with pytest.raises(StoreUnavailable):
        await store.check()
    with pytest.raises(StoreUnavailable):
        await store.outbox.release([])
    await store.open()
    assert len(await store.find_integrations("acme")) == 1


async def test_the_category_is_that_of_the_newest_link_that_matches_the_tool(store: Store) -> None:
    await store.save_minted_link(key("LMS"), 3600)
    await store.save_minted_link(key("ATS", "personio"), 3600)
    await store.save_minted_link(key("HRIS", "workday"), 3600)
    await complete(store)
    [found] = await store.find_integrations("acme")
    assert found.category == "ATS"


async def test_only_a_hash_of_the_activation_token_is_stored(store: Store) -> None:
    await complete(store, "the-very-token")
    found = await store.find_completion("the-very-token")
    assert found is not None
    assert found.integration_id == "personio:x"
    assert await store.find_completion("the-very-toke") is None
    async with store._database.reading() as connection:  # noqa: SLF001 - all that is at rest
        for table in metadata.tables.values():
            rows = (await connection.execute(table.select())).all()
            assert "the-very-token" not in repr(rows)


async def test_environments_in_one_database_are_separate(store: Store, database_url: str) -> None:
    await store.save_minted_link(key("HRIS"), 3600)
    await complete(store, "token")
    async with opened_store(database_url, environment="us") as other:
        assert await other.find_integrations("acme") == []
        assert await other.find_integration("personio:x") is None
        assert await other.find_completion("token") is None
        assert await other.has_minted_link("acme") is False
        assert await store.has_minted_link("acme") is True
        assert await complete(other) is True


async def test_an_integration_without_an_origin_id_is_recorded_and_listed_once_kombo_names_one(
    store: Store,
) -> None:
    await store.save_event(*created(origin_id=None))
    assert await store.find_integrations("acme") == []
    assert await store.find_integration("personio:x") is not None
    await complete(store)
    assert len(await store.find_integrations("acme")) == 1


async def test_each_report_writes_its_event_once(store: Store) -> None:
    await store.save_event(*created())
    await complete(store)
    unknown = WebhookEvent("e9", "sync-finished", {"end_user": {"origin_id": "acme"}, "state": "SUCCEEDED"})
    for _ in range(2):
        await store.save_event(unknown, None)
    types = [*CONNECTED, "kombo.event"]
    leased = await store.outbox.take(types, limit=10, now=NOW, lease_seconds=10)
    assert [(one.event.type, one.event.origin_id) for one in leased] == [(type_, "acme") for type_ in types]
    assert leased[0].event.integration is not None
    assert leased[0].event.integration.integration_id == "personio:x"
    assert leased[0].event.occurred_at == NOW
    assert leased[1].event.data == {"id": "e9", "type": "sync-finished", "data": unknown.data}


async def test_a_leased_event_is_free_again_when_the_lease_ends(store: Store, database_url: str) -> None:
    await complete(store)
    [first] = await store.outbox.take(CONNECTED, limit=10, now=NOW, lease_seconds=10)
    async with opened_store(database_url) as other:
        assert await other.outbox.take(CONNECTED, limit=10, now=NOW, lease_seconds=10) == []
        await store.outbox.renew([replace(first, done_handlers=("a",))], now=NOW, lease_seconds=0)
        [second] = await other.outbox.take(CONNECTED, limit=10, now=NOW, lease_seconds=0)
        assert second.event.id == first.event.id
        assert (second.attempts, second.done_handlers) == (2, ("a",))
        # The process that lost the lease cannot save an outcome any more.
        await store.outbox.save([DeliveryOutcome(first)], now=NOW)
        assert await store.outbox.take(CONNECTED, limit=10, now=NOW, lease_seconds=10) != []


async def test_a_released_event_is_free_at_once_and_keeps_its_done_handlers(store: Store) -> None:
    await complete(store)
    [first] = await store.outbox.take(CONNECTED, limit=10, now=NOW, lease_seconds=10)
    await store.outbox.release([replace(first, done_handlers=("a",))])
    [again] = await store.outbox.take(CONNECTED, limit=10, now=NOW, lease_seconds=10)
    assert (again.attempts, again.done_handlers) == (1, ("a",))


async def test_a_failed_event_is_due_again_later_and_a_delivered_one_never(store: Store) -> None:
    await complete(store)
    [leased] = await store.outbox.take(CONNECTED, limit=1, now=NOW, lease_seconds=10)
    failed = DeliveryOutcome(leased, ("a",), NOW + timedelta(seconds=60), failed=True)
    await store.outbox.save([failed], now=NOW)
    assert await store.outbox.take(CONNECTED, limit=1, now=NOW, lease_seconds=10) == []
    [again] = await store.outbox.take(CONNECTED, limit=1, now=LATER, lease_seconds=10)
    assert again.done_handlers == ("a",)
    await store.outbox.save([DeliveryOutcome(again)], now=LATER)
    assert await store.outbox.take(CONNECTED, limit=1, now=LATER, lease_seconds=10) == []


async def test_a_hundred_concurrent_completions_are_one_record(store: Store) -> None:
    firsts = await asyncio.gather(*(complete(store, f"token-{n % 3}") for n in range(100)))
    assert firsts.count(True) == 1
    assert len(await store.find_integrations("acme")) == 1


async def test_texts_of_any_length_and_with_any_character_are_stored(store: Store) -> None:
    status = "A_STATUS_OF_KOMBO_THAT_IS_LONGER_THAN_EXPECTED_" * 10
    await store.save_event(
        *created(category=status, organization_name="Nul\x00 & \U0001f600", origin_id="a\x00b")
    )
    state = ReportedState("personio:x", status, status, None)
    await store.save_event(WebhookEvent("e\x002", "integration-state-changed", {"of": "a\x00b"}), state)
    [found] = await store.find_integrations("a\x00b")
    assert (found.status, found.setup_status, found.category) == (status, status, status)
    assert found.organization_name == "Nul\ufffd & \U0001f600"


async def test_concurrent_reports_to_several_processes_are_one_record_and_one_event(
    stores: list[Store],
) -> None:
    saved = await asyncio.gather(
        *(
            save
            for number, store in enumerate(stores)
            for save in (
                store.save_completion(REPORTED, activation_token="one", origin_id="acme"),
                store.save_completion(REPORTED, activation_token=f"own {number}", origin_id="acme"),
                store.save_event(*created("the same")),
                store.save_event(*created(f"own {number}", category="ATS")),
            )
        )
    )
    assert sum(one.first for one in saved if isinstance(one, Completion)) <= 1
    [found] = await stores[0].find_integrations("acme")
    assert found.category == "ATS"
    assert (await undelivered(stores[0])).count("integration.connected") == 1


async def test_several_processes_deliver_each_event_once_and_in_order_per_integration(
    stores: list[Store],
) -> None:
    for number in range(12):
        integration_id = f"personio:{number}"
        await stores[0].save_event(*created(f"c{number}", integration_id=integration_id))
        for status in ("ACTIVE", "INVALID"):
            await stores[0].save_event(*state_changed(f"{status}{number}", status, integration_id))
    delivered: dict[str, list[str | None]] = {}

    async def deliver(store: Store) -> None:
        types = [*CONNECTED, "integration.updated"]
        while sum(map(len, delivered.values())) < 36:
            deliveries = await store.outbox.take(types, limit=5, now=NOW, lease_seconds=10)
            for one in deliveries:
                assert one.event.integration is not None
                statuses = delivered.setdefault(one.event.integration.integration_id, [])
                statuses.append(one.event.integration.status)
            await store.outbox.save([DeliveryOutcome(one) for one in deliveries], now=NOW)
            await asyncio.sleep(0.01)  # as `Dispatcher` does: SQLite's lock is not fair to those that poll it

    async with asyncio.timeout(20):
        await asyncio.gather(*(deliver(store) for store in stores))
    assert list(delivered.values()) == [[None, "ACTIVE", "INVALID"]] * 12
    assert await undelivered(stores[0]) == []


async def undelivered(store: Store) -> list[str]:
    """The types of the events that are not delivered yet."""
    query = select(outbox.c.type).where(outbox.c.delivered_at.is_(None)).order_by(outbox.c.id)
    async with store._database.reading() as connection:  # noqa: SLF001 - to look without leasing
        return list((await connection.execute(query)).scalars())
