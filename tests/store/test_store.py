"""The store's guarantees, the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from kombo_embed import IntegrationUpdated
from kombo_embed.deliveries import DeliveryOutcome
from kombo_embed.errors import StoreUnavailable
from kombo_embed.integration import Completion
from kombo_embed.store.store import Store
from kombo_embed.store.tables import deliveries, ended_deliveries, events, metadata
from kombo_embed.upstream import ReportedState, WebhookEvent
from tests.store.samples import (
    ADA,
    NOW,
    REPORTED,
    complete,
    created,
    key,
    opened_store,
    register,
    state_changed,
    taken_events,
)
from tests.support import recorded_statements

CONNECTED = "integration.connected"
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


async def test_the_first_report_of_an_integration_takes_eight_statements_and_a_repetition_three(
    store: Store,
) -> None:
    await store.save_event(*created("e1", category="HRIS"))
    other = created("e2", category="HRIS", integration_id="personio:y", origin_id="globex")
    for most in (8, 3):
        with recorded_statements() as statements:
            await store.save_event(*other)
        assert len([one for one in statements if "SELECT pg" in one or "kombo_embed" in one]) <= most


async def test_of_equal_integrations_that_are_reported_at_once_all_but_one_are_duplicates(
    stores: list[Store],
) -> None:
    await register(stores[0], "integration.duplicate")
    reports = [created(f"e{n}", category="HRIS", integration_id=f"personio:{n}") for n in range(12)]
    await asyncio.gather(*(stores[n % 4].save_event(*report) for n, report in enumerate(reports)))
    async with stores[0]._database.reading() as connection:  # noqa: SLF001 - however many there are
        count = select(func.count()).where(events.c.type == "integration.duplicate")
        assert (await connection.execute(count)).scalar_one() == 11


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
        await store.outbox.release([], now=NOW)
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
    slots = await register(store, CONNECTED, "kombo.event")
    await store.save_event(*created())
    await complete(store)
    unknown = WebhookEvent("e9", "sync-finished", {"end_user": {"origin_id": "acme"}, "state": "SUCCEEDED"})
    for _ in range(2):
        await store.save_event(unknown, None)
    found = taken_events(await store.outbox.take(slots, now=NOW, lease_seconds=10))
    types = [CONNECTED, "kombo.event"]
    assert [(event.type, event.origin_id) for event in found] == [(type_, "acme") for type_ in types]
    assert found[0].integration is not None
    assert found[0].integration.integration_id == "personio:x"
    assert found[0].occurred_at == NOW
    assert found[1].data == {"id": "e9", "type": "sync-finished", "data": unknown.data}


async def test_a_leased_delivery_is_free_again_when_the_lease_ends(store: Store, database_url: str) -> None:
    slots = await register(store, CONNECTED)
    await complete(store)
    [[first]] = await store.outbox.take(slots, now=NOW, lease_seconds=10)
    async with opened_store(database_url) as other:
        assert await other.outbox.take(slots, now=NOW, lease_seconds=10) == []
        # Each take has a lease of its own, also in one process.
        await expire_leases(store)
        [[second]] = await other.outbox.take(slots, now=NOW, lease_seconds=10)
        assert second.event.id == first.event.id
        assert (second.attempts, second.failures) == (2, 0)
        # The process that lost the lease cannot save an outcome any more, nor release or extend it.
        assert await store.outbox.save([DeliveryOutcome(first)], now=NOW, lease_seconds=10) == []
        await store.outbox.release([first], now=NOW)
        await expire_leases(store)
        await store.outbox.renew([first], now=NOW, lease_seconds=10)
        [[third]] = await other.outbox.take(slots, now=NOW, lease_seconds=10)
        assert third.attempts == 3


async def test_a_delivery_that_is_deferred_is_not_free_when_the_lease_ends(store: Store) -> None:
    slots = await register(store, CONNECTED)
    await complete(store)
    [[first]] = await store.outbox.take(slots, now=NOW, lease_seconds=10)
    await store.outbox.defer(first, now=NOW, seconds=3600)
    # A heartbeat does not make it due earlier.
    await store.outbox.renew([first], now=NOW, lease_seconds=10)
    await expire_leases(store, seconds=60)
    assert await store.outbox.take(slots, now=NOW, lease_seconds=10) == []
    await expire_leases(store, seconds=3600)
    [[again]] = await store.outbox.take(slots, now=NOW, lease_seconds=10)
    assert again.attempts == 2


async def test_a_released_delivery_is_free_at_once_and_its_attempt_does_not_count(store: Store) -> None:
    slots = await register(store, CONNECTED)
    await complete(store)
    [[first]] = await store.outbox.take(slots, now=NOW, lease_seconds=10)
    await store.outbox.release([first], now=NOW)
    [[again]] = await store.outbox.take(slots, now=NOW, lease_seconds=10)
    assert again.attempts == 1


async def test_a_failed_delivery_is_due_again_later_and_a_made_one_never(store: Store) -> None:
    slots = await register(store, CONNECTED)
    await complete(store)
    [[leased]] = await store.outbox.take(slots, now=NOW, lease_seconds=10)
    failed = DeliveryOutcome(leased, error="RuntimeError", retry_seconds=60)
    await store.outbox.save([failed], now=NOW, lease_seconds=10)
    assert await store.outbox.take(slots, now=NOW, lease_seconds=10) == []
    await expire_leases(store, seconds=61)
    [[again]] = await store.outbox.take(slots, now=NOW, lease_seconds=10)
    assert (again.attempts, again.failures, again.last_error) == (2, 1, "RuntimeError")
    await store.outbox.save([DeliveryOutcome(again, retry_seconds=1)], now=LATER, lease_seconds=10)
    await expire_leases(store, seconds=3600)
    [[last]] = await store.outbox.take(slots, now=LATER, lease_seconds=10)
    await store.outbox.save([DeliveryOutcome(last)], now=LATER, lease_seconds=10)
    assert await ended(store) == [("delivered", 1, "RuntimeError")]
    await expire_leases(store, seconds=3600)
    assert await store.outbox.take(slots, now=LATER, lease_seconds=10) == []


async def test_each_handler_gets_the_event_once_and_a_failing_one_holds_up_no_other(store: Store) -> None:
    await register(store, CONNECTED, "integration.updated", name="steady")
    await register(store, CONNECTED, "integration.updated", name="shaky")
    await store.save_event(*created())
    await store.save_event(*state_changed("e2", "ACTIVE"))
    both = {"steady": 1, "shaky": 1}
    steady, shaky = sorted(
        await store.outbox.take(both, now=NOW, lease_seconds=10),
        key=lambda lane: lane[0].handler,
        reverse=True,
    )
    assert [[one.event.type for one in lane] for lane in (steady, shaky)] == [
        [CONNECTED, "integration.updated"]
    ] * 2
    done = [DeliveryOutcome(steady[0], successor=steady[1]), DeliveryOutcome(steady[1])]
    await store.outbox.save(
        [*done, DeliveryOutcome(shaky[0], error="RuntimeError", retry_seconds=60)], now=NOW, lease_seconds=10
    )
    assert await undelivered(store) == [("shaky", CONNECTED), ("shaky", "integration.updated")]


async def test_an_update_names_each_changed_field_with_its_old_and_new_value(store: Store) -> None:
    slots = await register(store, "integration.updated")
    await store.save_event(*created())
    await store.save_event(*state_changed("e2", "ACTIVE"))
    event, state = state_changed("e3", "INVALID")
    await store.save_event(event, replace(state, setup_status="COMPLETED"))
    events = taken_events(await store.outbox.take(slots, now=NOW, lease_seconds=10))
    assert all(isinstance(event, IntegrationUpdated) for event in events)
    assert [event.data for event in events] == [
        {"changes": {"status": {"from": None, "to": "ACTIVE"}}},
        {
            "changes": {
                "setup_status": {"from": "INCOMPLETE", "to": "COMPLETED"},
                "status": {"from": "ACTIVE", "to": "INVALID"},
            }
        },
    ]


@pytest.mark.parametrize("reported_by", ["browser", "webhook"])
async def test_an_event_names_the_end_user_who_caused_it(store: Store, reported_by: str) -> None:
    types = ("integration.connected", "integration.duplicate", "integration.updated", "integration.deleted")
    slots = await register(store, *types)
    if reported_by == "webhook":
        await store.save_event(*created(category="HRIS"))
        await store.save_event(*created("e2", integration_id="personio:y", category="HRIS"))
    else:
        for token, id_ in enumerate(("personio:x", "personio:y")):
            reported = replace(REPORTED, integration_id=id_, email="other@acme.example", category="HRIS")
            await store.save_completion(
                reported, activation_token=f"t{token}", origin_id="acme", actor=ADA.email
            )
    await store.save_event(*state_changed("e3", "INVALID"))
    for id_ in ("personio:x", "personio:y"):
        integration = await store.find_integration(id_)
        assert integration is not None
        await store.save_deleted(integration, actor="bob@acme.example" if id_ == "personio:x" else None)
    events = taken_events(await store.outbox.take(slots, now=NOW, lease_seconds=10))
    assert [(event.type.partition(".")[2], event.actor) for event in events] == [
        ("connected", ADA.email),
        ("connected", ADA.email),
        ("duplicate", ADA.email),
        ("updated", None),
        ("deleted", "bob@acme.example"),
        ("deleted", None),
    ]


async def test_the_lease_of_a_lane_passes_to_the_next_delivery(store: Store, database_url: str) -> None:
    slots = await register(store, CONNECTED, "integration.updated")
    await store.save_event(*created())
    for number, status in enumerate(("ACTIVE", "INVALID", "ACTIVE")):
        await store.save_event(*state_changed(f"s{number}", status))
    [[first, second, third, _]] = await store.outbox.take(slots, now=NOW, lease_seconds=10)
    assert (first.attempts, second.attempts) == (1, 1)
    await store.outbox.save([DeliveryOutcome(first, successor=second)], now=NOW, lease_seconds=10)
    async with opened_store(database_url) as other:
        assert await other.outbox.take(slots, now=NOW, lease_seconds=10) == []
        # The process dies during the second one: it is repeated, alone, and counted as present at a crash.
        await expire_leases(store)
        [[again]] = await other.outbox.take(slots, now=NOW, lease_seconds=10)
        assert (again.row_id, again.attempts, again.failures) == (second.row_id, 2, 0)
        # What the first process reports of the lane later is skipped.
        lost = [DeliveryOutcome(second, successor=third), DeliveryOutcome(third)]
        await store.outbox.save(lost, now=NOW, lease_seconds=10)
        assert len(await undelivered(store)) == 3


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
    assert (await undelivered(stores[0])).count(("", CONNECTED)) == 1


async def test_several_processes_deliver_each_event_once_and_in_order_per_integration(
    stores: list[Store],
) -> None:
    for store in stores:
        await register(store, CONNECTED, "integration.updated")
    for number in range(12):
        integration_id = f"personio:{number}"
        await stores[0].save_event(*created(f"c{number}", integration_id=integration_id))
        for status in ("ACTIVE", "INVALID"):
            await stores[0].save_event(*state_changed(f"{status}{number}", status, integration_id))
    delivered: dict[str, list[str | None]] = {}

    async def deliver(store: Store) -> None:
        while sum(map(len, delivered.values())) < 36:
            outcomes = []
            for lane in await store.outbox.take({"handler": 5}, now=NOW, lease_seconds=10):
                for one, successor in zip(lane, [*lane[1:], None], strict=True):
                    assert one.event.integration is not None
                    statuses = delivered.setdefault(one.event.integration.integration_id, [])
                    statuses.append(one.event.integration.status)
                    outcomes.append(DeliveryOutcome(one, successor=successor))
            while outcomes:
                outcomes = await store.outbox.save(outcomes, now=NOW, lease_seconds=10)
            await asyncio.sleep(0.01)  # as `Dispatcher` does: SQLite's lock is not fair to those that poll it

    async with asyncio.timeout(20):
        await asyncio.gather(*(deliver(store) for store in stores))
    assert list(delivered.values()) == [[None, "ACTIVE", "INVALID"]] * 12
    assert await undelivered(stores[0]) == []


async def undelivered(store: Store) -> list[tuple[str, str]]:
    """The handlers and types of the deliveries that have not ended."""
    query = select(deliveries.c.handler, deliveries.c.type).order_by(deliveries.c.id)
    async with store._database.reading() as connection:  # noqa: SLF001 - to look without leasing
        return [(handler, event_type) for handler, event_type in await connection.execute(query)]


async def ended(store: Store) -> list[tuple[str, int, str | None]]:
    """The outcomes, failures and last errors of the deliveries that have ended."""
    columns = ended_deliveries.c
    query = select(columns.outcome, columns.failures, columns.last_error)
    async with store._database.reading() as connection:  # noqa: SLF001 - as above
        return [tuple(row) for row in await connection.execute(query)]


async def expire_leases(store: Store, *, seconds: float = 11) -> None:
    """Let time pass for everything that is due later: on PostgreSQL the server's clock counts."""
    async with store._database.writing() as connection:  # noqa: SLF001 - instead of waiting
        rows = (
            await connection.execute(select(deliveries).where(deliveries.c.due_at.is_not(None)))
        ).mappings()
        for row in rows.all():
            passed = {
                name: row[name] - timedelta(seconds=seconds)
                for name in ("due_at", "lease_ends_at")
                if row[name] is not None
            }
            await connection.execute(update(deliveries).where(deliveries.c.id == row["id"]).values(**passed))
