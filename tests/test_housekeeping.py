from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from kombo_embed import EndUser, Event
from kombo_embed.core.housekeeping import FIRST_PRUNE_SECONDS, Housekeeping
from kombo_embed.models import CacheKey, LinkRequest, LinkType, RelinkRequest
from kombo_embed.ports import DeliveryOutcome
from kombo_embed.sandbox import Sandbox
from kombo_embed.store import migrations
from kombo_embed.store.store import Store
from kombo_embed.upstream import ReportedIntegration, WebhookEvent
from tests.support import ManualClock, eventually, make_host, person, running

URL = "sqlite+aiosqlite:///kombo_embed.db"
ADA = EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")
CONNECT = CacheKey("default", ADA, LinkRequest("ATS", "de", "greenhouse"))
REPORTED = ReportedIntegration("personio:x", "personio", "acme", "Acme", None)
DAY = 24 * 3600


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[Store]:
    store = Store(URL, environment="default", clock=clock)
    await store.open()
    yield store
    await store.aclose()


def keeper(store: Store, clock: ManualClock, days: int = 90) -> Housekeeping:
    return Housekeeping(store, retention=timedelta(days=days), clock=clock, wake_dispatcher=lambda: None)


async def abandoned(store: Store) -> list[Event]:
    now = store._now() + timedelta(days=400)  # noqa: SLF001 - past every lease
    types = ["flow.abandoned"]
    return [one.event for one in await store.outbox.take(types, limit=100, now=now, lease_seconds=0)]


async def connect(store: Store) -> None:
    await store.save_completion(REPORTED, activation_token="t", origin_id="acme")


async def test_a_link_that_led_to_nothing_is_told_once(store: Store, clock: ManualClock) -> None:
    await store.save_minted_link(CONNECT, 3600)
    minted_at = clock.time()
    clock.advance(3599)
    await keeper(store, clock).run_once()
    assert await abandoned(store) == []
    clock.advance(1)
    others = [Store(URL, environment="default", clock=clock) for _ in range(3)]
    await asyncio.gather(*(keeper(one, clock).run_once() for one in [store, *others]))
    [event] = await abandoned(store)
    assert (event.origin_id, event.integration) == ("acme", None)
    assert {name: event.data[name] for name in ("tool", "category", "language")} == {
        "tool": "greenhouse",
        "category": "ATS",
        "language": "de",
    }
    times = [
        datetime.fromisoformat(str(event.data[name])).timestamp() for name in ("minted_at", "expires_at")
    ]
    assert times == [minted_at, minted_at + 3600]
    await keeper(store, clock).run_once()
    assert len(await abandoned(store)) == 1
    for one in others:
        await one.aclose()


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_link_that_led_to_something_is_not_told_also_if_that_is_gone(
    store: Store, clock: ManualClock, deleted: bool
) -> None:
    await store.save_minted_link(CONNECT, 3600)
    await connect(store)
    if deleted:
        [integration] = await store.find_integrations("acme")
        await store.save_deleted(integration)
    clock.advance(3600)
    await keeper(store, clock).run_once()
    assert await abandoned(store) == []


async def test_what_was_connected_before_the_link_does_not_count(store: Store, clock: ManualClock) -> None:
    await connect(store)
    clock.advance(1)
    for _ in range(2):
        await store.save_minted_link(CONNECT, 3600)
    clock.advance(3600)
    await keeper(store, clock).run_once()
    assert len(await abandoned(store)) == 2


@pytest.mark.parametrize(
    ("key", "link_type"),
    [
        (CONNECT, "MAGIC_LINK"),
        (CacheKey("default", ADA, RelinkRequest("personio:x", "en")), "EMBEDDED"),
        (CacheKey("other", ADA, LinkRequest("ATS", "de")), "EMBEDDED"),
    ],
)
async def test_only_embedded_connect_links_of_this_environment_are_told(
    store: Store, clock: ManualClock, key: CacheKey, link_type: LinkType
) -> None:
    other = Store(URL, environment=key.environment, clock=clock)
    await other.save_minted_link(key, 3600, link_type=link_type)
    await other.aclose()
    clock.advance(400 * DAY)
    await keeper(store, clock).run_once()
    assert await abandoned(store) == []


async def test_more_links_than_are_looked_at_at_a_time_are_all_told(store: Store, clock: ManualClock) -> None:
    for _ in range(250):
        await store.save_minted_link(CONNECT, 60)
    clock.advance(61)
    await keeper(store, clock).run_once()
    assert [len(await abandoned(store)) for _ in range(3)] == [100, 100, 100]


def test_links_that_ended_before_this_version_are_not_told() -> None:
    links = {"ended": -1.0, "under way": 1800.0, "magic": 300.0 * DAY}
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
    assert watched == [("under way",)]


async def test_what_is_old_is_forgotten_and_integrations_are_not(store: Store, clock: ManualClock) -> None:
    await fill(store, "old")
    clock.advance(91 * DAY)
    await fill(store, "new")
    house = keeper(store, clock)
    await house.run_once()
    before = counts()
    clock.advance(FIRST_PRUNE_SECONDS)
    await house.run_once()
    after = counts()
    assert before["received_events"] == 6
    for table in ("minted_links", "completions", "received_events", "malformed_events"):
        assert (before[table], after[table]) == (before[table], before[table] // 2), table
    assert after["integrations"] == before["integrations"] == 4
    assert await waiting(store) == ["new"]


async def fill(store: Store, mark: str) -> None:
    """One of each kind: delivered, given up and never handled hooks among them."""
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
    for state in ("delivered", "given up"):
        await store.save_event(WebhookEvent(f"{state} {mark}", "data-changed", {}), None)
    now = store._now()  # noqa: SLF001 - the store's own idea of now
    done, failed = await store.outbox.take(["kombo.event"], limit=2, now=now, lease_seconds=10)
    await store.outbox.save(
        [DeliveryOutcome(done), DeliveryOutcome(failed, (), now, failed=True, dead=True)], now=now
    )
    await store.save_malformed_event(mark.encode(), reason="id: missing")


async def waiting(store: Store) -> list[str]:
    now = store._now()  # noqa: SLF001 - as above
    types = ["integration.connected"]
    taken = await store.outbox.take(types, limit=100, now=now, lease_seconds=10)
    return sorted(
        {one.event.integration.integration_id.partition(":")[2] for one in taken if one.event.integration}
    )


def counts() -> dict[str, int]:
    tables = ("minted_links", "completions", "received_events", "malformed_events", "integrations")
    with sqlite3.connect("kombo_embed.db") as database:
        return {
            table: database.execute(f"select count(*) from kombo_embed_{table}").fetchone()[0]  # noqa: S608 - ours
            for table in tables
        }


async def test_a_link_whose_three_seconds_pass_is_told_by_the_running_app(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    clock = ManualClock()
    app, embed = make_host(kombo, clock=clock, link_lifetime=3, link_min_remaining=1)
    heard: list[Any] = []
    embed.on("flow.abandoned")(heard.append)
    async with running(app) as client:
        await client.post("/kombo/links", headers=person("ada@acme"), json={})
        clock.advance(3)
        await eventually(lambda: len(heard) == 1)
    assert heard[0].origin_id == "acme"
    assert sandbox.calls
