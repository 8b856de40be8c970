"""What the store does, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import asyncio
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
from tests.store.samples import REPORTED, complete, created, key
from tests.support import ManualClock


async def test_one_integration_is_one_record_whoever_tells_of_it_and_how_often(store: Store) -> None:
    assert await complete(store) is True
    assert await complete(store) is False
    assert await complete(store, "another token") is False
    await store.save_event(*created("e1", category="ATS"))
    await store.save_event(*created("e2"))
    [found] = await store.find_integrations("acme")
    assert found.integration_id == "personio:x"
    # What the browser's way did not tell, the webhook added.
    assert (found.setup_status, found.category) == ("INCOMPLETE", "ATS")


async def test_what_comes_after_the_close_is_refused_until_it_is_opened_again(store: Store) -> None:
    under_way = asyncio.create_task(complete(store))
    await asyncio.sleep(0)
    await store.aclose()
    assert await under_way is True
    with pytest.raises(StoreUnavailable):
        await store.check()
    with pytest.raises(StoreUnavailable):
        await store.outbox.release([])
    await store.open()
    assert len(await store.find_integrations("acme")) == 1


async def test_the_category_comes_from_the_newest_link_that_fits_the_tool(store: Store) -> None:
    await store.save_minted_link(key("LMS"), 3600)
    await store.save_minted_link(key("ATS", "personio"), 3600)
    await store.save_minted_link(key("HRIS", "workday"), 3600)
    await complete(store)
    [found] = await store.find_integrations("acme")
    assert found.category == "ATS"


async def test_a_token_is_remembered_by_its_hash_alone(store: Store) -> None:
    await complete(store, "the-very-token")
    found = await store.find_completion("the-very-token")
    assert found is not None
    assert found.integration_id == "personio:x"
    assert await store.find_completion("the-very-toke") is None
    async with store._database.reading() as connection:  # noqa: SLF001 - all that is at rest
        for table in metadata.tables.values():
            rows = (await connection.execute(table.select())).all()
            assert "the-very-token" not in repr(rows)


async def test_environments_in_one_database_do_not_see_each_other(store: Store, database_url: str) -> None:
    other = Store(database_url, environment="us", clock=ManualClock())
    await other.open()
    await store.save_minted_link(key("HRIS"), 3600)
    await complete(store)
    assert await other.find_integrations("acme") == []
    assert await other.find_integration("personio:x") is None
    assert await other.find_completion("token") is None
    assert await other.has_minted_link("acme") is False
    assert await store.has_minted_link("acme") is True
    assert await complete(other) is True
    await other.aclose()


async def test_an_integration_without_an_origin_id_is_kept_and_found_once_kombo_names_one(
    store: Store,
) -> None:
    await store.save_event(*created(origin_id=None))
    assert await store.find_integrations("acme") == []
    assert await store.find_integration("personio:x") is not None
    await complete(store)
    assert len(await store.find_integrations("acme")) == 1


async def test_an_event_is_written_with_what_it_tells_of_and_once(store: Store) -> None:
    clock = ManualClock()
    await store.save_event(*created())
    await complete(store)
    unknown = WebhookEvent("e9", "sync-finished", {"end_user": {"origin_id": "acme"}, "state": "SUCCEEDED"})
    for _ in range(2):
        await store.save_event(unknown, None)
    now = store._now()  # noqa: SLF001 - the store's own idea of now
    types = ["integration.connected", "kombo.event"]
    taken = await store.outbox.take(types, limit=10, now=now, lease_seconds=10)
    assert [(t.event.type, t.event.origin_id) for t in taken] == [(type_, "acme") for type_ in types]
    assert taken[0].event.integration is not None
    assert taken[0].event.integration.integration_id == "personio:x"
    assert taken[1].event.data == {"id": "e9", "type": "sync-finished", "data": unknown.data}
    assert clock.time() == taken[0].event.occurred_at.timestamp()


async def test_an_event_taken_is_free_again_when_its_lease_ends(store: Store, database_url: str) -> None:
    await complete(store)
    now, types = store._now(), ["integration.connected"]  # noqa: SLF001 - as above
    [first] = await store.outbox.take(types, limit=10, now=now, lease_seconds=10)
    other = Store(database_url, environment="default", clock=ManualClock())
    assert await other.outbox.take(types, limit=10, now=now, lease_seconds=10) == []
    await store.outbox.renew([replace(first, done_handlers=("a",))], now=now, lease_seconds=0)
    [second] = await other.outbox.take(types, limit=10, now=now, lease_seconds=0)
    assert second.event.id == first.event.id
    assert (second.attempts, second.done_handlers) == (2, ("a",))
    # Whoever lost the lease cannot say any more that it is done.
    await store.outbox.save([DeliveryOutcome(first)], now=now)
    assert await store.outbox.take(types, limit=10, now=now, lease_seconds=10) != []
    await other.aclose()


async def test_an_event_let_go_is_free_at_once_and_knows_which_handlers_are_done(store: Store) -> None:
    await complete(store)
    now, types = store._now(), ["integration.connected"]  # noqa: SLF001 - as above
    [first] = await store.outbox.take(types, limit=10, now=now, lease_seconds=10)
    await store.outbox.release([replace(first, done_handlers=("a",))])
    [again] = await store.outbox.take(types, limit=10, now=now, lease_seconds=10)
    assert (again.attempts, again.done_handlers) == (1, ("a",))


async def test_the_later_event_of_an_integration_waits_for_the_earlier_one(store: Store) -> None:
    await complete(store)
    now = store._now()  # noqa: SLF001 - as above
    [taken] = await store.outbox.take(["integration.connected"], limit=1, now=now, lease_seconds=10)
    failed = DeliveryOutcome(taken, ("a",), now + timedelta(seconds=60), failed=True)
    await store.outbox.save([failed], now=now)
    assert await store.outbox.take(["integration.connected"], limit=1, now=now, lease_seconds=10) == []
    later = now + timedelta(seconds=61)
    [again] = await store.outbox.take(["integration.connected"], limit=1, now=later, lease_seconds=10)
    assert again.done_handlers == ("a",)
    await store.outbox.save([DeliveryOutcome(again)], now=later)
    assert await store.outbox.take(["integration.connected"], limit=1, now=later, lease_seconds=10) == []


async def test_a_hundred_writers_at_once_make_one_record(store: Store) -> None:
    firsts = await asyncio.gather(*(complete(store, f"token-{n % 3}") for n in range(100)))
    assert firsts.count(True) == 1
    assert len(await store.find_integrations("acme")) == 1


async def test_words_of_any_length_and_with_any_character_are_kept(store: Store) -> None:
    status = "A_STATUS_OF_KOMBO_THAT_IS_LONGER_THAN_ANYBODY_EXPECTED_" * 10
    await store.save_event(
        *created(category=status, organization_name="Nul\x00 & \U0001f600", origin_id="a\x00b")
    )
    state = ReportedState("personio:x", status, status, None)
    await store.save_event(WebhookEvent("e\x002", "integration-state-changed", {"of": "a\x00b"}), state)
    [found] = await store.find_integrations("a\x00b")
    assert (found.status, found.setup_status, found.category) == (status, status, status)
    assert found.organization_name == "Nul\ufffd & \U0001f600"


async def test_what_several_processes_are_told_at_once_is_one_record_and_one_event(database_url: str) -> None:
    stores = [Store(database_url, environment="default", clock=ManualClock()) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    told = [
        tell
        for number, store in enumerate(stores)
        for tell in (
            store.save_completion(REPORTED, activation_token="one", origin_id="acme"),
            store.save_completion(REPORTED, activation_token=f"own {number}", origin_id="acme"),
            store.save_event(*created("the same")),
            store.save_event(*created(f"own {number}", category="ATS")),
        )
    ]
    completions = [result for result in await asyncio.gather(*told) if isinstance(result, Completion)]
    assert sum(completion.first for completion in completions) <= 1
    [found] = await stores[0].find_integrations("acme")
    assert found.category == "ATS"
    assert (await waiting(stores[0])).count("integration.connected") == 1
    await asyncio.gather(*(store.aclose() for store in stores))


async def test_several_processes_deliver_each_event_once_and_in_order(database_url: str) -> None:
    stores = [Store(database_url, environment="default", clock=ManualClock()) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    for number in range(12):
        await stores[0].save_event(*created(f"c{number}", integration_id=f"personio:{number}"))
        for status in ("ACTIVE", "INVALID"):
            state = ReportedState(f"personio:{number}", status, None, None)
            await stores[0].save_event(
                WebhookEvent(f"{status}{number}", "integration-state-changed", {}), state
            )
    delivered: dict[str, list[str | None]] = {}

    async def deliver(store: Store) -> None:
        now, types = store._now(), ["integration.connected", "integration.updated"]  # noqa: SLF001 - as above
        while sum(map(len, delivered.values())) < 36:
            deliveries = await store.outbox.take(types, limit=5, now=now, lease_seconds=10)
            for taken in deliveries:
                assert taken.event.integration is not None
                heard = delivered.setdefault(taken.event.integration.integration_id, [])
                heard.append(taken.event.integration.status)
            await store.outbox.save([DeliveryOutcome(taken) for taken in deliveries], now=now)
            await asyncio.sleep(0.01)  # as `Dispatcher` does: SQLite's lock is not fair to who polls it

    async with asyncio.timeout(20):
        await asyncio.gather(*(deliver(store) for store in stores))
    assert list(delivered.values()) == [[None, "ACTIVE", "INVALID"]] * 12
    assert await waiting(stores[0]) == []
    await asyncio.gather(*(store.aclose() for store in stores))


async def waiting(store: Store) -> list[str]:
    """The types of the events that are to be delivered."""
    undelivered = select(outbox.c.type).where(outbox.c.delivered_at.is_(None)).order_by(outbox.c.id)
    async with store._database.reading() as connection:  # noqa: SLF001 - to look without taking
        return list((await connection.execute(undelivered)).scalars())
