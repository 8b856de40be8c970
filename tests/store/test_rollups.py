"""The counts of the console: they are right, counted once, and never delay who writes facts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import pytest

from kombo_embed.clock import ManualClock
from kombo_embed.core.counting import Counting
from kombo_embed.ports import ErasurePosition, utc_now
from kombo_embed.store.store import Store
from kombo_embed.store.support import counts
from kombo_embed.store.support.overview import OverviewData
from kombo_embed.store.support.rollups import EVENTS_PER_READ
from kombo_embed.store.tables import events, integrations
from tests.store.large import event, insert_many
from tests.store.samples import created, fixed_clock, key, opened_store, register, state_changed
from tests.store.test_lists import row
from tests.support import recorded_statements

DAY = 24 * 3600.0


async def fold(store: Store, clock: ManualClock | None = None) -> None:
    """Fold as a process does that looks ten seconds later."""
    if clock is not None:
        clock.advance(10)
    await counting(store, clock or ManualClock()).run_once()


def counting(store: Store, clock: ManualClock) -> Counting:
    return Counting(store.support.rollups, store.details, take_rejections=dict, clock=clock)


async def read(store: Store, *, days: int = 7) -> OverviewData:
    return await store.support.overview.read(days=days, hours=24)


def total(data: OverviewData, metric: str) -> int:
    return sum(data.totals.get(metric, {}).values())


async def test_each_stage_of_the_funnel_is_counted_by_tool(database_url: str) -> None:
    clock = fixed_clock()
    async with opened_store(database_url, clock=clock) as store:
        await store.save_minted_link(key("HRIS", "personio"), 3600)
        clock.advance(100)
        await store.save_event(*created(setup_status="COMPLETED"))
        await fold(store, clock)
        data = await read(store)
        assert data.totals[counts.LINKS] == data.totals[counts.CONNECTED] == {"personio": 1}
        assert data.totals[counts.SET_UP] == data.totals[counts.HEALTHY] == {"personio": 1}
        assert data.totals[counts.BINS[4]] == {"personio": 1}  # 64 to 128 seconds


async def test_what_breaks_or_is_deleted_leaves_the_healthy_ones_and_what_recovers_returns(
    database_url: str,
) -> None:
    clock = fixed_clock()
    async with opened_store(database_url, clock=clock) as store:
        await store.save_event(*created(setup_status="COMPLETED"))
        clock.advance(3 * DAY)  # counted at the day of the connection
        for number, (status, healthy) in enumerate([("INVALID", 0), ("ACTIVE", 1), ("INACTIVE", 0)]):
            await store.save_event(*state_changed(f"s{number}", status))
            await fold(store, clock)
            assert total(await read(store), counts.HEALTHY) == healthy
        await store.save_event(*state_changed("s9", "ACTIVE"))
        [integration] = await store.find_integrations("acme")
        await store.save_deleted(integration)
        await fold(store, clock)
        data = await read(store)
        assert (total(data, counts.CONNECTED), total(data, counts.HEALTHY)) == (1, 0)


async def test_repeated_folds_and_several_processes_count_nothing_twice(database_url: str) -> None:
    clock = fixed_clock()
    async with (
        opened_store(database_url, clock=clock) as first,
        opened_store(database_url, clock=clock) as second,
    ):
        for number in range(3):
            await first.save_event(*created(f"e{number}", integration_id=f"personio:{number}"))
            for store in (first, second, second):
                await fold(store, clock)
        await second.save_event(*created("e9", integration_id="personio:9"))
        for store in (second, first):
            await fold(store, clock)
        for store in (first, second):
            data = await read(store)
            assert total(data, counts.CONNECTED) == 4
            assert sum(data.series[counts.WEBHOOKS].values()) == 4


async def test_only_the_process_that_holds_the_lease_folds(database_url: str) -> None:
    clock = fixed_clock()
    async with (
        opened_store(database_url, clock=clock) as first,
        opened_store(database_url, clock=clock) as second,
    ):
        assert await first.details.take_lease("rollups", seconds=3600)
        await second.save_event(*created())
        await fold(second, clock)
        assert total(await read(second), counts.CONNECTED) == 0
        await fold(first, clock)
        assert total(await read(second), counts.CONNECTED) == 1


async def test_a_fold_without_news_writes_nothing(store: Store) -> None:
    await store.save_event(*created())
    await fold(store)
    store.support.rollups._clock.advance(61)  # type: ignore[attr-defined]  # noqa: SLF001 - past the overlap
    await fold(store)
    assert not await store.support.rollups.has_changes()
    with recorded_statements() as statements:
        await fold(store)
    assert [one.split()[0] for one in statements if "kombo_embed" in one] == ["SELECT"]


async def test_the_past_is_counted_in_steps_after_an_upgrade(database_url: str) -> None:
    clock = fixed_clock()
    async with opened_store(database_url, clock=clock) as store:
        for number in range(4):
            await store.save_event(*created(f"e{number}", integration_id=f"personio:{number}"))
            clock.advance(10 * DAY)
        assert await store.support.rollups.fold()
        await fold(store)
        assert total(await read(store, days=90), counts.CONNECTED) == 4
        assert total(await read(store, days=31), counts.CONNECTED) == 3


async def test_a_fact_that_commits_late_is_counted(database_url: str) -> None:
    clock = fixed_clock()
    async with opened_store(database_url, clock=clock) as store:
        await store.save_event(*created("e1", integration_id="personio:1"))
        await fold(store, clock)
        late = ManualClock(time=lambda: clock.time() - 30, monotonic=clock.monotonic)
        async with opened_store(database_url, clock=late) as other:
            await other.save_event(*created("e2", integration_id="personio:2"))
        await fold(store, clock)
        assert total(await read(store), counts.CONNECTED) == 2


async def test_more_events_within_a_minute_than_one_read_returns_are_all_counted_by_one_fold(
    database_url: str,
) -> None:
    clock = fixed_clock()
    async with opened_store(database_url, clock=clock) as store:
        await store.save_event(*created("e1", integration_id="personio:1"))
        clock.advance(3 * DAY)
        await fold(store, clock)
        await store.save_event(*state_changed("s1", "INVALID", integration_id="personio:1"))
        first = {name: value for name, value in event(1).items() if name != "id"}
        many = [
            first
            | {"event_id": f"many {number}", "occurred_at": utc_now(clock) - timedelta(milliseconds=number)}
            for number in range(2 * EVENTS_PER_READ)
        ]
        async with store._database.writing() as connection:  # noqa: SLF001 - many at once
            await insert_many(connection, events, many)
        async with asyncio.timeout(60):
            await fold(store, clock)
        assert total(await read(store), counts.HEALTHY) == 0
        clock.advance(61)
        await fold(store, clock)
        assert not await store.support.rollups.has_changes()


class SlowRollups:
    """Counts that take long."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock

    async def has_changes(self) -> bool:
        return True

    async def fold(self) -> bool:
        self.clock.advance(3)
        return False

    async def add(self, metric: str, numbers: Mapping[str, int]) -> None:
        raise AssertionError(metric, numbers)


async def test_counts_that_take_long_are_renewed_less_often(store: Store) -> None:
    clock = fixed_clock()
    slow = Counting(SlowRollups(clock), store.details, take_rejections=dict, clock=clock)
    await slow.run_once()
    assert slow.interval_seconds == 60
    quick = counting(store, clock)
    await quick.run_once()
    assert quick.interval_seconds == 10


async def test_abandoned_and_failed_flows_are_counted_by_the_day(database_url: str) -> None:
    clock = fixed_clock()
    async with opened_store(database_url, clock=clock) as store:
        await store.save_minted_link(key("HRIS", "personio"), 3600)
        clock.advance(2 * 3600)
        await store.close_expired_links(limit=10)
        await fold(store, clock)
        data = await read(store)
        assert data.totals[counts.ABANDONED] == {"personio": 1}
        assert (total(data, counts.LINKS), total(data, counts.CONNECTED)) == (1, 0)


async def test_a_link_that_was_only_prefetched_is_not_handed_out(database_url: str) -> None:
    clock = fixed_clock()
    async with opened_store(database_url, clock=clock) as store:
        row_id = await store.save_minted_link(key("HRIS"), 3600, watch=False)
        await fold(store, clock)
        assert total(await read(store), counts.LINKS) == 0
        await store.save_link_handed_out(row_id)
        await store.save_event(*created())
        await fold(store, clock)
        assert total(await read(store), counts.LINKS) == 1


async def test_environments_have_counts_of_their_own(database_url: str) -> None:
    async with (
        opened_store(database_url) as store,
        opened_store(database_url, environment="other") as other,
    ):
        await store.save_event(*created())
        await fold(store)
        await fold(other)
        assert total(await read(other), counts.CONNECTED) == 0


async def test_the_overview_names_handlers_that_fail(store: Store) -> None:
    await register(store, "integration.connected", name="app.sync")
    await store.save_event(*created())
    [handler] = (await read(store)).handlers
    assert (handler.handler, handler.failing, handler.undelivered) == ("app.sync", 0, 0)
    assert handler.due_since is not None


@pytest.mark.parametrize("name", ["Ünïcode GmbH", "ACME", "a" * 70_000, "%_\\", "emoji 🙂"])
async def test_customers_are_found_by_the_beginning_of_any_name(store: Store, name: str) -> None:
    await store.save_event(*created(organization_name=name))
    for term in (name[:2], name[:40]):
        found, _ = await store.support.customers.search(term)
        assert [one.origin_id for one in found] == ["acme"]


async def test_a_customer_with_many_integrations_hides_no_other(store: Store) -> None:
    async with store._database.writing() as connection:  # noqa: SLF001 - many at once
        await insert_many(connection, integrations, [row(number) for number in range(310)])
        await insert_many(connection, integrations, [row(310, origin_id="acme-2")])
    found, has_more = await store.support.customers.search("acme")
    assert [one.origin_id for one in found] == ["acme", "acme-2"]
    assert not has_more


async def test_an_erased_customer_is_not_found(store: Store) -> None:
    await store.save_event(*created())
    await fold(store)
    assert (await store.support.customers.search("ada@"))[0]
    await store.erasures.begin("acme", actor=None)
    position: ErasurePosition | None = ErasurePosition()
    while position is not None:
        position = (await store.erasures.run_batch("acme", position, limit=100)).next
    for term in ("acme", "ada@"):
        assert await store.support.customers.search(term) == ([], False)
