from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from kombo_embed import EndUser, Event
from kombo_embed.clock import ManualClock
from kombo_embed.core.housekeeping import FIRST_PRUNE_SECONDS, LINKS_PER_BATCH, Housekeeping
from kombo_embed.deliveries import DeliveryOutcome
from kombo_embed.models import CacheKey, LinkRequest, LinkType, RelinkRequest
from kombo_embed.sandbox import Sandbox
from kombo_embed.store import migrations
from kombo_embed.store.store import Store
from kombo_embed.upstream import ReportedIntegration, WebhookEvent
from tests import support
from tests.store.samples import fixed_clock, opened_store, register, taken_events
from tests.support import SQLITE_URL, eventually, make_host, person, recorded_statements, running

GRACE = EndUser(email="grace@globex.example", organization_name="Globex", origin_id="globex")
ADA = EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")
CONNECT = CacheKey("default", ADA, LinkRequest("ATS", "de", "greenhouse"))
REPORTED = ReportedIntegration("personio:x", "personio", "acme", "Acme", None)
DAY = 24 * 3600


@pytest.fixture
def clock() -> ManualClock:
    return fixed_clock()


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[Store]:
    async with opened_store(SQLITE_URL, clock=clock) as store:
        yield store


def now(clock: ManualClock) -> datetime:
    return datetime.fromtimestamp(clock.time(), UTC)


def housekeeping(store: Store, clock: ManualClock) -> Housekeeping:
    return Housekeeping(
        store,
        retention=timedelta(days=90),
        audit_retention=timedelta(days=730),
        lifetime_seconds=3600,
        clock=clock,
        wake_dispatcher=lambda: None,
    )


async def abandoned(store: Store, clock: ManualClock) -> list[Event]:
    at = now(clock) + timedelta(days=400)  # past every lease
    slots = await register(store, "flow.abandoned", now=at)
    found: list[Event] = []
    while taken := await store.outbox.take(slots, now=at, lease_seconds=9):
        found += taken_events(taken)
    return found


async def connect(store: Store) -> None:
    await store.save_completion(REPORTED, activation_token="t", origin_id="acme")


async def test_an_expired_link_without_a_completion_is_reported_once_over_all_processes(
    store: Store, clock: ManualClock
) -> None:
    await store.save_minted_link(CONNECT, 3600)
    minted_at = clock.time()
    clock.advance(3599)
    await housekeeping(store, clock).run_once()
    assert await abandoned(store, clock) == []
    clock.advance(1)
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(opened_store(SQLITE_URL, clock=clock)) for _ in range(3)]
        await asyncio.gather(*(housekeeping(one, clock).run_once() for one in [store, *others]))
    [event] = await abandoned(store, clock)
    assert (event.origin_id, event.integration, event.actor) == ("acme", None, ADA.email)
    assert {name: event.data[name] for name in ("tool", "category", "language")} == {
        "tool": "greenhouse",
        "category": "ATS",
        "language": "de",
    }
    times = [
        datetime.fromisoformat(str(event.data[name])).timestamp() for name in ("minted_at", "expires_at")
    ]
    assert times == [minted_at, minted_at + 3600]
    await housekeeping(store, clock).run_once()
    assert await abandoned(store, clock) == []


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_link_with_a_completion_is_not_reported_even_if_the_integration_is_deleted_later(
    store: Store, clock: ManualClock, deleted: bool
) -> None:
    await store.save_minted_link(CONNECT, 3600)
    await connect(store)
    if deleted:
        [integration] = await store.find_integrations("acme")
        await store.save_deleted(integration)
    clock.advance(3600)
    await housekeeping(store, clock).run_once()
    assert await abandoned(store, clock) == []


async def test_a_completion_before_the_mint_does_not_count(store: Store, clock: ManualClock) -> None:
    await connect(store)
    clock.advance(1)
    for _ in range(2):
        await store.save_minted_link(CONNECT, 3600)
    clock.advance(3600)
    await housekeeping(store, clock).run_once()
    assert len(await abandoned(store, clock)) == 2


@pytest.mark.parametrize(
    ("key", "link_type"),
    [
        (CONNECT, "MAGIC_LINK"),
        (CacheKey("default", ADA, RelinkRequest("personio:x", "en")), "EMBEDDED"),
        (CacheKey("other", ADA, LinkRequest("ATS", "de")), "EMBEDDED"),
    ],
)
async def test_only_embedded_connect_links_of_this_environment_are_reported(
    store: Store, clock: ManualClock, key: CacheKey, link_type: LinkType
) -> None:
    async with opened_store(SQLITE_URL, environment=key.environment, clock=clock) as other:
        await other.save_minted_link(key, 3600, link_type=link_type)
    clock.advance(400 * DAY)
    await housekeeping(store, clock).run_once()
    assert await abandoned(store, clock) == []


async def test_more_links_than_fit_into_one_batch_are_all_reported(store: Store, clock: ManualClock) -> None:
    for _ in range(LINKS_PER_BATCH + 1):
        await store.save_minted_link(CONNECT, 60)
    clock.advance(61)
    await housekeeping(store, clock).run_once()
    assert len(await abandoned(store, clock)) == LINKS_PER_BATCH + 1


async def test_a_link_is_reported_at_once_behind_many_that_were_completed(
    store: Store, clock: ManualClock
) -> None:
    for _ in range(2 * LINKS_PER_BATCH):
        await store.save_minted_link(CONNECT, 60)
    await connect(store)
    await store.save_minted_link(replace(CONNECT, end_user=GRACE), 60)
    clock.advance(61)
    await housekeeping(store, clock).run_once()
    assert [event.origin_id for event in await abandoned(store, clock)] == ["globex"]


async def test_the_database_is_asked_when_a_link_expires_and_once_a_minute(
    store: Store, clock: ManualClock
) -> None:
    asked_at = []
    periodic = housekeeping(store, clock)
    for second in range(200):
        if second == 70:
            await store.save_minted_link(CONNECT, 75)
        with recorded_statements() as statements:
            await periodic.run_once()
        if statements:
            asked_at.append(second)
        clock.advance(1)
    assert asked_at == [0, 60, 120, 145]


def test_links_that_expired_before_the_migration_are_not_reported() -> None:
    links = {"expired": -1.0, "valid": 1800.0, "magic": 300.0 * DAY}
    engine = create_engine("sqlite:///kombo_embed.db")
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for email, seconds in links.items():
            end = datetime.fromtimestamp(time.time() + seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")
            connection.exec_driver_sql(
                "insert into kombo_embed_minted_links"
                " (environment, origin_id, email, purpose, language, minted_at, expires_at)"
                " values ('default', 'acme', ?, 'connect', 'en', ?, ?)",
                (email, end, end),
            )
        migrations.run(connection)
        watched = connection.exec_driver_sql(
            "select email from kombo_embed_minted_links where watch_until is not null"
        ).fetchall()
    engine.dispose()
    assert watched == [("valid",)]


async def test_old_rows_are_deleted_and_integrations_are_kept(store: Store, clock: ManualClock) -> None:
    await fill(store, clock, "old")
    clock.advance(91 * DAY)
    await fill(store, clock, "new")
    periodic = housekeeping(store, clock)
    await periodic.run_once()
    before = counts()
    clock.advance(FIRST_PRUNE_SECONDS)
    await periodic.run_once()
    after = counts()
    assert before["received_events"] == 6
    for table in ("minted_links", "completions", "received_events", "malformed_events", "events"):
        assert (before[table], after[table]) == (before[table], before[table] // 2), table
    assert (after["ended_deliveries"], after["handlers"]) == (2, 1)
    assert after["integrations"] == before["integrations"] == 4
    assert await undelivered(store, clock) == ["new"]


async def fill(store: Store, clock: ManualClock, mark: str) -> None:
    """Write rows of each kind: a delivered event, a dead letter and one without a handler among them."""
    await store.save_minted_link(CONNECT, 3600)
    gone = ReportedIntegration(f"gone:{mark}", "gone", "acme", None, None)
    await store.save_completion(
        ReportedIntegration(f"personio:{mark}", "personio", "acme", None, None),
        activation_token=mark,
        origin_id="acme",
    )
    await store.save_event(WebhookEvent(f"gone {mark}", "integration-created", {}), gone)
    [*_, last] = await store.find_integrations("acme")
    await store.save_deleted(last)
    for state in ("delivered", "dead letter"):
        await store.save_event(WebhookEvent(f"{state} {mark}", "data-changed", {}), None)
    at = now(clock)
    slots = await register(store, "kombo.event", name="of kombo.event", now=at)
    [done], [failed] = await store.outbox.take(slots, now=at, lease_seconds=10)
    outcomes = [DeliveryOutcome(done), DeliveryOutcome(failed, error="RuntimeError")]
    await store.outbox.save(outcomes, now=at, lease_seconds=10)
    await store.save_malformed_event(mark.encode(), reason="id: missing")


async def undelivered(store: Store, clock: ManualClock) -> list[str]:
    slots = await register(store, "integration.connected", now=now(clock))
    found = taken_events(await store.outbox.take(slots, now=now(clock), lease_seconds=10))
    integrations = [event.integration for event in found]
    return sorted({one.integration_id.partition(":")[2] for one in integrations if one})


def counts() -> dict[str, int]:
    tables = (
        *("minted_links", "completions", "received_events", "malformed_events", "integrations"),
        *("events", "ended_deliveries", "handlers"),
    )
    with closing(sqlite3.connect("kombo_embed.db")) as database:
        return {
            table: database.execute(f"select count(*) from kombo_embed_{table}").fetchone()[0]  # noqa: S608 - ours
            for table in tables
        }


async def test_the_running_app_reports_an_expired_link(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    clock = support.ManualClock()
    app, embed = make_host(kombo, clock=clock, link_lifetime=3, link_min_remaining=1)
    events: list[Event] = []
    embed.on("flow.abandoned")(events.append)
    async with running(app) as client:
        await client.post("/kombo/links", headers=person("ada@acme"), json={})
        clock.advance(3)
        await eventually(lambda: len(events) == 1)
    assert events[0].origin_id == "acme"
    assert sandbox.calls
