from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from kombo_embed import EndUser
from kombo_embed.errors import ConfigurationError, StoreUnavailable
from kombo_embed.models import LinkKey, LinkRequest, Outcome
from kombo_embed.reports import ReportedIntegration, WebhookEvent
from kombo_embed.store.migrations import VERSION_TABLE
from kombo_embed.store.store import SqlStore
from kombo_embed.store.tables import metadata
from tests.support import ManualClock, eventually

URL = "sqlite+aiosqlite:///kombo_embed.db"
ADA = EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")
REPORTED = ReportedIntegration(
    "personio:x", "personio", "acme", "Acme", "ada@acme.example", None, "INCOMPLETE"
)


@pytest.fixture
async def store() -> AsyncIterator[SqlStore]:
    store = SqlStore(URL, environment="default", clock=ManualClock())
    await store.open()
    yield store
    await store.close()


def key(category: str, tool: str | None = None) -> LinkKey:
    return LinkKey("default", ADA, LinkRequest(category, "en", tool))


def created(event_id: str = "e1", **changes: Any) -> tuple[WebhookEvent, ReportedIntegration]:
    return WebhookEvent(event_id, "integration-created", {}), replace(REPORTED, **changes)


async def complete(store: SqlStore, token: str | None = None) -> bool:
    completion = await store.save_completion(REPORTED, activation_token=token or "token", recorded_for="acme")
    assert completion is not None
    return completion.first


async def test_one_integration_is_one_record_whoever_tells_of_it_and_how_often(store: SqlStore) -> None:
    assert await complete(store) is True
    assert await complete(store) is False
    assert await complete(store, "another token") is False
    await store.save_event(*created("e1", category="ATS"))
    await store.save_event(*created("e2"))
    [found] = await store.find_integrations("acme")
    assert found.integration_id == "personio:x"
    # What the browser's way did not tell, the webhook added.
    assert (found.setup_status, found.category) == ("INCOMPLETE", "ATS")


async def test_the_category_comes_from_the_newest_link_that_fits_the_tool(store: SqlStore) -> None:
    await store.save_link_minted(key("LMS"), 3600)
    await store.save_link_minted(key("ATS", "personio"), 3600)
    await store.save_link_minted(key("HRIS", "workday"), 3600)
    await complete(store)
    [found] = await store.find_integrations("acme")
    assert found.category == "ATS"


async def test_a_token_is_remembered_by_its_hash_alone(store: SqlStore) -> None:
    await complete(store, "the-very-token")
    found = await store.find_completed("the-very-token")
    assert found is not None
    assert found.integration_id == "personio:x"
    assert await store.find_completed("the-very-toke") is None
    await store.close()
    with sqlite3.connect("kombo_embed.db") as database:
        assert not [line for line in database.iterdump() if "the-very-token" in line]


async def test_environments_in_one_database_do_not_see_each_other(store: SqlStore) -> None:
    other = SqlStore(URL, environment="us", clock=ManualClock())
    await other.open()
    await store.save_link_minted(key("HRIS"), 3600)
    await complete(store)
    assert await other.find_integrations("acme") == []
    assert await other.find_integration("personio:x") is None
    assert await other.find_completed("token") is None
    assert await other.has_minted_for("acme") is False
    assert await store.has_minted_for("acme") is True
    assert await complete(other) is True
    await other.close()


async def test_an_integration_without_an_origin_id_is_kept_and_found_once_kombo_names_one(
    store: SqlStore,
) -> None:
    await store.save_event(*created(origin_id=None))
    assert await store.find_integrations("acme") == []
    assert await store.find_integration("personio:x") is not None
    await complete(store)
    assert len(await store.find_integrations("acme")) == 1


async def test_an_event_is_written_with_what_it_tells_of_and_once(store: SqlStore) -> None:
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


async def test_an_event_taken_is_free_again_when_its_lease_ends(store: SqlStore) -> None:
    await complete(store)
    now, types = store._now(), ["integration.connected"]  # noqa: SLF001 - as above
    [first] = await store.outbox.take(types, limit=10, now=now, lease_seconds=10)
    other = SqlStore(URL, environment="default", clock=ManualClock())
    assert await other.outbox.take(types, limit=10, now=now, lease_seconds=10) == []
    later = now + timedelta(seconds=11)
    [second] = await other.outbox.take(types, limit=10, now=later, lease_seconds=10)
    assert second.event.id == first.event.id
    assert second.attempts == 2
    # Whoever lost the lease cannot say any more that it is done.
    await store.outbox.save([Outcome(first)], now=later)
    much_later = later + timedelta(seconds=11)
    assert await store.outbox.take(types, limit=10, now=much_later, lease_seconds=10) != []
    await other.close()


async def test_the_later_event_of_an_integration_waits_for_the_earlier_one(store: SqlStore) -> None:
    await complete(store)
    now = store._now()  # noqa: SLF001 - as above
    [taken] = await store.outbox.take(["integration.connected"], limit=1, now=now, lease_seconds=10)
    failed = Outcome(taken, ("a",), now + timedelta(seconds=60), failed=True)
    await store.outbox.save([failed], now=now)
    assert await store.outbox.take(["integration.connected"], limit=1, now=now, lease_seconds=10) == []
    later = now + timedelta(seconds=61)
    [again] = await store.outbox.take(["integration.connected"], limit=1, now=later, lease_seconds=10)
    assert again.done_handlers == ("a",)
    await store.outbox.save([Outcome(again)], now=later)
    assert await store.outbox.take(["integration.connected"], limit=1, now=later, lease_seconds=10) == []


async def test_a_hundred_writers_at_once_make_one_record(store: SqlStore) -> None:
    firsts = await asyncio.gather(*(complete(store, f"token-{n % 3}") for n in range(100)))
    assert firsts.count(True) == 1
    assert len(await store.find_integrations("acme")) == 1


async def test_what_is_answered_is_flushed_to_disk_and_survives_a_reopening(store: SqlStore) -> None:
    async with store._database.reading() as connection:  # noqa: SLF001 - the pragmas are per connection
        pragmas = {
            name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 5000}
    await complete(store)
    await store.close()
    again = SqlStore(URL, environment="default", clock=ManualClock())
    await again.open()
    assert len(await again.find_integrations("acme")) == 1
    await again.close()


async def test_several_processes_may_open_a_new_database_at_once() -> None:
    stores = [
        SqlStore("sqlite+aiosqlite:///new.db", environment="default", clock=ManualClock()) for _ in range(8)
    ]
    await asyncio.gather(*(store.open() for store in stores))
    await asyncio.gather(*(store.check() for store in stores))
    for store in stores:
        await store.close()


async def test_the_migrations_make_exactly_the_tables_that_the_code_uses(store: SqlStore) -> None:
    await store.check()
    engine = create_engine("sqlite:///kombo_embed.db")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


async def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/no/such/folder.db"
    store = SqlStore(url, environment="default", clock=ManualClock())
    with pytest.raises(ConfigurationError, match=r"KOMBO_DATABASE_URL does not exist.*no/such"):
        await store.open()
    await store.close()


async def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    store = SqlStore(f"sqlite+aiosqlite:///{tmp_path}", environment="default", clock=ManualClock())
    with pytest.raises(StoreUnavailable, match="KOMBO_DATABASE_URL"):
        await store.open()
    await store.close()
    # A driver's thread that could not connect still reports to this loop, which must not be closed before.
    await eventually(lambda: not [one for one in threading.enumerate() if "_connection_worker" in one.name])


async def test_a_database_that_lost_its_tables_fails_the_check(store: SqlStore) -> None:
    with sqlite3.connect("kombo_embed.db") as database:
        database.execute("drop table kombo_embed_integrations")
    with pytest.raises(StoreUnavailable):
        await store.check()
