"""A webhook with a time in the far future does not keep its status for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from kombo_embed.clock import ManualClock
from kombo_embed.integration import Integration
from kombo_embed.store.store import Store
from kombo_embed.upstream import IntegrationDetails, ReportedState, WebhookEvent
from tests.store.samples import NOW, created, fixed_clock, opened_store

FAR = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
TIMES = pytest.mark.parametrize("moment", [FAR, NOW + timedelta(days=2)])


@pytest.fixture
def clock() -> ManualClock:
    return fixed_clock()


@pytest.fixture
async def store(database_url: str, clock: ManualClock) -> AsyncIterator[Store]:
    async with opened_store(database_url, clock=clock) as store:
        yield store


async def report(store: Store, event_id: str, status: str, moment: datetime) -> None:
    event = WebhookEvent(event_id, "integration-state-changed", {})
    await store.save_event(event, ReportedState("personio:x", status, "COMPLETED", moment))


async def known(store: Store) -> Integration:
    [integration] = await store.find_integrations("acme")
    return integration


async def read_details(store: Store, status: str = "ACTIVE") -> None:
    """Read the details as the core does: of that integration, if they are due."""
    for job in (await store.details.take(limit=10, lease_seconds=20)).jobs:
        details = IntegrationDetails(
            "personio:x", "personio", "HRIS", status, "COMPLETED", "acme", "Personio"
        )
        await store.save_details(details, states_unless_changed_since=job.integration.updated_at)


@TIMES
@pytest.mark.parametrize("is_first", [False, True], ids=["of a known one", "before it is known"])
async def test_a_possible_report_counts_whenever_it_arrives(
    is_first: bool, moment: datetime, store: Store, clock: ManualClock
) -> None:
    if not is_first:
        await store.save_event(*created())
    await report(store, "odd", "INVALID", moment)
    if is_first:
        await store.save_event(*created())
    assert (await known(store)).status == "INVALID", "it is the only one"
    clock.advance(10)
    await report(store, "current", "INACTIVE", NOW + timedelta(seconds=10))
    assert (await known(store)).status == "INACTIVE"
    await report(store, "odd again", "INVALID", moment)
    await report(store, "older", "ACTIVE", NOW)
    assert (await known(store)).status == "INACTIVE"


@TIMES
async def test_kombo_is_asked_whether_an_outvoted_report_is_the_current_one(
    moment: datetime, store: Store
) -> None:
    await store.save_event(*created())
    await report(store, "possible", "ACTIVE", NOW)
    await read_details(store)
    assert (await store.details.take(limit=10, lease_seconds=20)).jobs == [], "nothing is due"
    await report(store, "odd", "INVALID", moment)
    assert (await known(store)).status == "ACTIVE"
    await read_details(store, "INVALID")
    assert (await known(store)).status == "INVALID"


async def test_details_count_over_the_last_time_of_all(store: Store) -> None:
    await store.save_event(*created())
    await report(store, "odd", "INVALID", FAR)
    await read_details(store, "ACTIVE")
    assert (await known(store)).status == "ACTIVE"


async def test_impossible_times_are_compared_with_each_other(store: Store) -> None:
    """This machine's clock may be wrong by weeks."""
    await store.save_event(*created())
    await report(store, "newer", "INVALID", NOW + timedelta(days=60, seconds=1))
    await report(store, "older", "ACTIVE", NOW + timedelta(days=60))
    assert (await known(store)).status == "INVALID"


async def test_a_time_within_a_day_of_this_machines_clock_is_kombos_own(
    store: Store, clock: ManualClock
) -> None:
    await store.save_event(*created())
    await report(store, "ahead", "INVALID", NOW + timedelta(days=1))
    clock.advance(10)
    await report(store, "older", "ACTIVE", NOW + timedelta(hours=23))
    assert (await known(store)).status == "INVALID"
