"""The queue of integrations to read from Kombo, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from kombo_embed.clock import ManualClock
from kombo_embed.ports import DetailsJob
from kombo_embed.store.database import Database
from kombo_embed.store.store import Store
from kombo_embed.upstream import IntegrationDetails, ReportedState, WebhookEvent
from tests.store.samples import NOW, complete, created, fixed_clock, opened_store, state_changed

DETAILS = IntegrationDetails(
    "personio:x", "personio", "HRIS", "ACTIVE", "COMPLETED", "acme", "Personio", None
)


@pytest.fixture
def clock() -> ManualClock:
    return fixed_clock()


@pytest.fixture
async def store(database_url: str, clock: ManualClock) -> AsyncIterator[Store]:
    async with opened_store(database_url, clock=clock) as store:
        yield store


async def report(store: Store, *integration_ids: str) -> None:
    for one in integration_ids:
        await store.save_event(*created(one, integration_id=one))


async def take(store: Store, limit: int = 10, *, lease_seconds: float = 60) -> list[DetailsJob]:
    return (await store.details.take(limit=limit, lease_seconds=lease_seconds)).jobs


def ids(jobs: list[DetailsJob]) -> list[str]:
    return sorted(job.integration.integration_id for job in jobs)


async def test_an_integration_is_leased_to_one_of_the_processes(store: Store, database_url: str) -> None:
    names = [f"personio:{number}" for number in range(20)]
    await report(store, *names)
    async with opened_store(database_url) as other:
        taken = await asyncio.gather(*(take(one, 5) for one in (store, other) * 4))
        rest = await take(store, 100)
    assert ids([job for jobs in (*taken, rest) for job in jobs]) == sorted(names)
    assert await take(store) == []


async def test_a_lease_that_has_ended_is_given_to_another_process_and_the_first_changes_nothing(
    store: Store, database_url: str
) -> None:
    await report(store, "personio:x")
    [late] = await take(store, lease_seconds=0)
    async with opened_store(database_url) as other:
        [job] = await take(other)
        await store.details.postpone(late, seconds=None, not_found=10)
        await other.details.postpone(job, seconds=0, not_found=1)
        [again] = await take(other)
    assert (job.attempts, again.attempts, again.not_found) == (2, 3, 1)


async def test_the_next_due_time_is_known(store: Store) -> None:
    due = await store.details.take(limit=1, lease_seconds=60)
    assert (due.jobs, due.next_in_seconds) == ([], None)
    await report(store, "personio:x", "personio:y", "personio:z")
    due = await store.details.take(limit=2, lease_seconds=60)
    assert (len(due.jobs), due.next_in_seconds) == (2, 0)
    await take(store)
    due = await store.details.take(limit=2, lease_seconds=60)
    assert due.jobs == []
    assert due.next_in_seconds is not None
    assert 50 < due.next_in_seconds <= 60


async def test_read_details_are_not_due_and_do_not_change_again(store: Store) -> None:
    await report(store, "personio:x")
    [job] = await take(store)
    known = job.integration.updated_at
    changed = await store.save_details(DETAILS, states_unless_changed_since=known)
    assert changed is not None
    assert (changed.tool_label, changed.next_action) == ("Personio", "none")
    await store.details.postpone(job, seconds=0, not_found=0)  # of a process that was slower
    assert await take(store) == []
    assert await store.save_details(DETAILS, states_unless_changed_since=changed.updated_at) is None
    assert await store.find_integration("personio:x") == changed


@pytest.mark.parametrize(
    "report_more",
    [
        lambda store: store.save_event(*created("again")),
        lambda store: store.save_event(*state_changed("state", "INVALID")),
        complete,
    ],
)
async def test_a_report_about_an_integration_whose_details_are_unknown_makes_them_due(
    store: Store, report_more: object
) -> None:
    assert callable(report_more)
    await report(store, "personio:x")
    [job] = await take(store)
    await store.details.postpone(job, seconds=None, not_found=10)
    assert await take(store) == []
    await report_more(store)
    [again] = await take(store)
    assert (again.attempts, again.not_found) == (1, 0)


async def test_a_report_about_an_integration_whose_details_are_known_does_not(store: Store) -> None:
    await report(store, "personio:x")
    [job] = await take(store)
    await store.save_details(DETAILS, states_unless_changed_since=job.integration.updated_at)
    await store.save_event(*created("again"))
    await store.save_event(*state_changed("state", "INVALID"))
    assert await take(store) == []


async def test_a_report_during_a_read_counts_and_what_contradicts_it_is_read_again(store: Store) -> None:
    await report(store, "personio:x")
    [job] = await take(store)
    state = ReportedState("personio:x", "INVALID", None, NOW)
    await store.save_event(WebhookEvent("state", "integration-state-changed", {}), state)
    assert await take(store) == []
    merged = await store.save_details(DETAILS, states_unless_changed_since=job.integration.updated_at)
    assert merged is not None
    assert (merged.status, merged.setup_status, merged.tool_label) == ("INVALID", "INCOMPLETE", "Personio")
    [again] = await take(store)  # Kombo may have completed the setup before or after the webhook
    current = replace(DETAILS, status="INVALID")
    settled = await store.save_details(current, states_unless_changed_since=again.integration.updated_at)
    assert settled is not None
    assert (settled.status, settled.setup_status) == ("INVALID", "COMPLETED")
    assert await take(store) == []


async def test_checks_are_due_after_the_interval_the_oldest_first_but_not_while_details_are(
    store: Store, clock: ManualClock
) -> None:
    await report(store, "personio:x", "personio:y", "personio:z")
    day = timedelta(days=1)
    assert (await store.details.find_checks(before=NOW + day, limit=10)).integrations == []
    for job in await take(store):
        await store.details.postpone(job, seconds=None, not_found=0)
    [x, y, z] = [await store.find_integration(f"personio:{name}") for name in "xyz"]
    for one in (y, x):
        assert one is not None
        clock.advance(60)
        await store.details.save_checked(one)
    checks = await store.details.find_checks(before=NOW + timedelta(seconds=60), limit=10)
    assert (checks.integrations, checks.next_at) == ([z, y], NOW + timedelta(seconds=120))
    assert (await store.details.find_checks(before=NOW + day, limit=2)).integrations == [z, y]
    assert (await store.details.find_checks(before=NOW - day, limit=2)).integrations == []


async def test_a_lease_has_one_owner_until_it_ends(store: Store, database_url: str) -> None:
    async with opened_store(database_url) as other, opened_store(database_url, environment="b") as elsewhere:
        both = [store.details, other.details]
        won = await asyncio.gather(*(one.take_lease("reconcile", seconds=60) for one in both))
        assert sorted(won) == [False, True]
        owner, loser = both if won[0] else both[::-1]
        assert await owner.take_lease("reconcile", seconds=0)
        assert await elsewhere.details.take_lease("reconcile", seconds=60)
        assert await loser.take_lease("reconcile", seconds=60)
        assert not await owner.take_lease("reconcile", seconds=60)


async def test_the_looks_use_the_partial_indexes(database_url: str, store: Store) -> None:
    await report(store, "personio:x")
    looks = {
        "details_due": "details_due_at IS NOT NULL ORDER BY details_due_at LIMIT 5",
        "checked": "deleted_at IS NULL AND details_due_at IS NULL AND checked_at IS NOT NULL"
        " ORDER BY checked_at LIMIT 5",
        "not_found": "deleted_at IS NULL AND details_not_found >= 10 ORDER BY id DESC LIMIT 5",
    }
    database = Database(database_url)
    is_sqlite = database_url.startswith("sqlite")
    try:
        async with database.writing() as connection:
            if not is_sqlite:
                await connection.execute(text("SET LOCAL enable_seqscan = off"))
            explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
            for name, condition in looks.items():
                query = (
                    f"SELECT * FROM kombo_embed_integrations WHERE environment = 'default' AND {condition}"  # noqa: S608 - ours
                )
                rows = (await connection.execute(text(f"{explain} {query}"))).all()
                plan = " ".join(str(row[-1]) for row in rows)
                assert f"ix_kombo_embed_integrations_{name}" in plan, plan
                assert "TEMP B-TREE" not in plan, plan
                assert "Sort" not in plan, plan
    finally:
        await database.aclose()
