"""Erasing a customer: nothing of theirs is left in any column of any table, and nothing comes back."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, insert, select, update

from kombo_embed import EndUser
from kombo_embed.clock import ManualClock
from kombo_embed.deliveries import DeliveryOutcome
from kombo_embed.event import EVENT_TYPES
from kombo_embed.models import CacheKey, LinkRequest, RelinkRequest
from kombo_embed.ports import ErasurePosition
from kombo_embed.store.erasing import REMOVED_IN_ORDER
from kombo_embed.store.store import Store
from kombo_embed.store.tables import (
    audit,
    deliveries,
    ended_deliveries,
    link_invalidations,
    metadata,
    outbox,
    received_events,
)
from kombo_embed.upstream import (
    FailedFlow,
    IntegrationDetails,
    ReportedDeletion,
    ReportedIntegration,
    ReportedState,
    WebhookEvent,
)
from tests.postgres import PostgresServer
from tests.store.samples import NOW, fixed_clock, opened_database, opened_store

# SQLAlchemy does not reflect indexes on expressions on SQLite; the columns are what matters here.
pytestmark = pytest.mark.filterwarnings("ignore:.*(expression-based|functional) index")

ADA = EndUser(email="ada@lovelace.example", organization_name="Lovelace & Töchter", origin_id='org "7" ä')
BOB = EndUser(email="bob@builder.example", organization_name="Builder Ltd", origin_id="org 8")
PERSONAL = ("lovelace.example", "Lovelace", 'org "7"', "Ada ")
HIBOB, PERSONIO = "hibob:ada", "personio:ada"
BOBS = "hibob:bob"
# Malformed bodies cannot be attributed; they are kept for seven days.
NOT_PERSONAL = {
    "erased_integrations",
    "erased_origins",
    "erasure_keys",
    "handlers",
    "leases",
    "malformed_events",
    "rollups",
}
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def clock() -> ManualClock:
    return fixed_clock()


@pytest.fixture
async def store(database_url: str, clock: ManualClock) -> AsyncIterator[Store]:
    async with opened_store(database_url, clock=clock) as store:
        yield store


def reported(integration_id: str, person: EndUser, **changes: Any) -> ReportedIntegration:
    tool = integration_id.partition(":")[0]
    same = {"origin_id": person.origin_id, "organization_name": person.organization_name}
    return ReportedIntegration(integration_id, tool, **(same | {"email": person.email} | changes))


def body(person: EndUser, **more: Any) -> dict[str, Any]:
    names = {"origin_id": person.origin_id, "creator_email": person.email}
    return {"end_user": names | {"organization_name": person.organization_name}} | more


async def record_everything(store: Store, person: EndUser, *integration_ids: str) -> None:
    """Record every kind of row about a customer, with deliveries that wait, failed and ended."""
    await store.outbox.register({"handler": EVENT_TYPES, "busy": EVENT_TYPES}, now=NOW)
    await record_reports(store, person, *integration_ids)
    for cause, retry_seconds in ((None, None), ("ValueError", None), ("KeyError", 9.0)):
        for lane in await store.outbox.take({"handler": 1}, now=NOW, lease_seconds=10):
            error = cause and f"{cause}: {lane[0].event.origin_id}"
            outcome = DeliveryOutcome(lane[0], error=error, retry_seconds=retry_seconds)
            await store.outbox.save([outcome], now=NOW, lease_seconds=10)
            await store.outbox.release(lane[1:], now=NOW)


async def record_reports(store: Store, person: EndUser, *integration_ids: str) -> None:
    name = person.origin_id
    for integration_id in integration_ids:
        for request in (LinkRequest("HRIS", "en"), RelinkRequest(integration_id, "en")):
            await store.save_minted_link(CacheKey("default", person, request), 3600)
        about = reported(integration_id, person)
        await store.save_completion(
            about, activation_token=f"{name} {integration_id}", origin_id=name, actor=person.email
        )
        event = WebhookEvent(f"{integration_id} created", "integration-created", body(person))
        await store.save_event(event, about)
        for status in ("INVALID", "ACTIVE"):
            event = WebhookEvent(f"{integration_id} {status}", "integration-state-changed", {"note": name})
            await store.save_event(event, ReportedState(integration_id, status, None, None))
        data: dict[str, object] = {
            "integration": {"id": integration_id},
            "who": f"{person.organization_name} {person.email}",
        }
        await store.save_event(WebhookEvent(f"{integration_id} other", "data-changed", data), None)
    await store.save_minted_link(
        CacheKey("default", person, LinkRequest("ATS", "en")),
        3600,
        link_type="MAGIC_LINK",
        actor="command line",
    )
    failed = FailedFlow(name, "personio", "HRIS", f"https://kombo.example/{person.email}")
    await store.save_event(
        WebhookEvent(f"{integration_ids[0]} failed", "connection-flow-failed", body(person)), failed
    )
    await store.save_event(
        WebhookEvent(f"{integration_ids[0]} nested", "new-type", {"a": [body(person)]}), None
    )
    await store.save_deleted((await store.find_integrations(name))[0], actor=person.email)
    state = ReportedState(f"workday:{person.email[:3]}", "ACTIVE", None, None)
    await store.save_event(
        WebhookEvent(f"{integration_ids[0]} early", "integration-state-changed", body(person)), state
    )


async def everything(url: str) -> dict[str, list[str]]:
    """Return every row of every table, as text."""
    async with opened_database(url) as database, database.reading() as connection:
        found = MetaData()
        await connection.run_sync(found.reflect)
        return {
            table.name: [_text(dict(row)) for row in (await connection.execute(select(table))).mappings()]
            for table in found.tables.values()
        }


def _text(row: dict[str, Any]) -> str:
    texts = {
        name: value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        for name, value in row.items()
    }
    return json.dumps(texts, ensure_ascii=False).replace("\\", "")


def left(rows: dict[str, list[str]], *needles: str) -> dict[str, list[str]]:
    """Return the rows that have one of these texts."""
    found = {name: [row for row in kept if any(one in row for one in needles)] for name, kept in rows.items()}
    return {name: kept for name, kept in found.items() if kept}


async def erase(store: Store, person: EndUser, *, limit: int = 3) -> dict[str, int]:
    """Erase as the core does, in small batches."""
    await store.erasures.begin(person.origin_id, actor="command line")
    return await go_on(store, person, limit=limit)


async def go_on(store: Store, person: EndUser, *, limit: int = 3) -> dict[str, int]:
    rows: dict[str, int] = {}
    position: ErasurePosition | None = ErasurePosition()
    while position is not None:
        batch = await store.erasures.run_batch(person.origin_id, position, limit=limit)
        rows = {name: rows.get(name, 0) + batch.rows.get(name, 0) for name in rows | batch.rows}
        position = batch.next
    return rows | await store.erasures.finish(person.origin_id)


async def test_nothing_of_the_customer_is_left_in_any_column(store: Store, database_url: str) -> None:
    await record_everything(store, ADA, HIBOB, PERSONIO)
    await record_everything(store, BOB, BOBS)
    before = await everything(database_url)
    assert len(left(before, *PERSONAL)) >= 6, "every kind of row names her"
    bobs = left(before, "builder", "org 8")
    rows = await erase(store, ADA)
    after = await everything(database_url)
    assert left(after, *PERSONAL) == {}
    # What is kept: the marks, the ids of events, and who did what, under a pseudonym.
    kept = left(after, HIBOB, PERSONIO)
    assert set(kept) == {
        "kombo_embed_erased_integrations",
        "kombo_embed_received_events",
        "kombo_embed_audit",
    }
    assert all('"data": "{}"' in row for row in kept["kombo_embed_received_events"])
    assert left(after, "builder", "org 8") == bobs
    assert rows["kombo_embed_integrations"] == 2
    assert rows["kombo_embed_received_events"] >= 9


def test_every_table_is_erased_or_known_to_hold_nothing_personal() -> None:
    erased = {table.name for table in (*REMOVED_IN_ORDER, deliveries, ended_deliveries, link_invalidations)}
    assert {name.removeprefix("kombo_embed_") for name in metadata.tables.keys() - erased} == NOT_PERSONAL
    page = (Path(__file__).parents[2] / "docs" / "personal-data.md").read_text(encoding="utf-8")
    for name in metadata.tables:
        assert f"`{name.removeprefix('kombo_embed_')}`" in page


async def test_the_counts_are_known_before_and_nothing_is_counted_twice(store: Store) -> None:
    await record_everything(store, ADA, HIBOB, PERSONIO)
    counted = Counter(await store.erasures.count(ADA.origin_id))
    position: ErasurePosition | None = ErasurePosition()
    while position is not None:
        batch = await store.erasures.count_in_bodies(ADA.origin_id, position, limit=3)
        counted.update(batch.rows)
        position = batch.next
    rows = await erase(store, ADA)
    invalidations = rows.pop("kombo_embed_dropped_links")
    assert invalidations > 0
    assert {name: number for name, number in counted.items() if number} == rows
    assert await erase(store, ADA) == {"kombo_embed_dropped_links": 0}, "its own is not counted"


async def test_events_of_before_the_upgrade_are_found_by_their_bodies(
    store: Store, database_url: str
) -> None:
    await record_everything(store, ADA, HIBOB)
    await record_everything(store, BOB, BOBS)
    odd = [
        {"integration": {"end_user": {"origin_id": ADA.origin_id}}, "name": "Lovelace"},
        {"list": [{"end_user_origin_id": ADA.origin_id, "who": "Ada Lovelace"}]},
        {"list": [["deep", {"integration_ids": [HIBOB]}]], "who": "Ada Lovelace"},
    ]
    async with opened_database(database_url) as database, database.writing() as connection:
        await connection.execute(update(received_events).values(origin_id=None))
        for number, data in enumerate(odd):
            row = {"environment": "default", "event_id": f"old {number}", "type": "old", "received_at": NOW}
            await connection.execute(insert(received_events), row | {"data": data})
            event = {"environment": "default", "event_id": f"{number}", "type": "kombo.event", "due_at": NOW}
            numbers = {"attempts": 0, "done_handlers": [], "occurred_at": NOW, "failures": 0}
            await connection.execute(insert(outbox), event | numbers | {"data": data})
    bobs = left(await everything(database_url), "builder", "org 8")
    rows = await erase(store, ADA)
    after = await everything(database_url)
    assert left(after, *PERSONAL) == {}
    assert left(after, "builder", "org 8") == bobs
    assert rows["kombo_embed_outbox"] >= len(odd)


async def test_a_value_that_only_equals_the_origin_id_is_no_attribution(
    store: Store, database_url: str
) -> None:
    person = EndUser(email="a@b.example", organization_name="HR", origin_id="HRIS")
    await store.save_event(WebhookEvent("e1", "new", {"category": "HRIS", "keep": "this"}), None)
    await erase(store, person)
    assert "keep" in left(await everything(database_url), "this")["kombo_embed_received_events"][0]


async def test_an_interrupted_erasure_continues(store: Store, database_url: str) -> None:
    await record_everything(store, ADA, HIBOB, PERSONIO)
    await store.erasures.begin(ADA.origin_id, actor=None)
    batches = 0
    position: ErasurePosition | None = ErasurePosition()
    while position is not None:
        # Each time another process begins anew after a crash in this batch.
        position = (await store.erasures.run_batch(ADA.origin_id, position, limit=2)).next
        batches += 1
        if batches % 7 == 0:
            await store.erasures.begin(ADA.origin_id, actor=None)
    assert batches > 20
    await erase(store, ADA)
    assert left(await everything(database_url), *PERSONAL) == {}


async def test_late_reports_bring_nothing_back(store: Store, clock: ManualClock, database_url: str) -> None:
    await record_everything(store, ADA, HIBOB, PERSONIO)
    await erase(store, ADA)
    clock.advance(10)
    events = await everything(database_url)
    details = IntegrationDetails(HIBOB, "hibob", "HRIS", "ACTIVE", "COMPLETED", ADA.origin_id)
    reports: list[Any] = [
        reported(HIBOB, ADA),
        reported(HIBOB, ADA, origin_id=None),
        reported("other:new", ADA),
        ReportedDeletion(reported(PERSONIO, ADA)),
        ReportedDeletion(reported("other:new", ADA)),
        ReportedState(HIBOB, "ACTIVE", "COMPLETED", None),
        FailedFlow(ADA.origin_id, "personio", "HRIS", None),
        None,
    ]
    for number, report in enumerate(reports):
        event = WebhookEvent(f"late {number}", "late", body(ADA, integration_id=HIBOB))
        for _ in range(2):
            await store.save_event(event, report)
    assert await store.save_details(details, states_unless_changed_since=NOW) is None
    assert (
        await store.save_completion(
            reported("other:new", ADA), activation_token="t", origin_id=ADA.origin_id, by_owner=False
        )
        is None
    )
    assert await store.find_integrations(ADA.origin_id) == []
    after = await everything(database_url)
    assert left(after, *PERSONAL) == {}
    assert {name for name in after if after[name] != events[name]} == {"kombo_embed_received_events"}
    assert len(left(after, "late")["kombo_embed_received_events"]) == len(reports)


async def test_an_integration_that_kombo_created_after_the_erasure_is_recorded(store: Store) -> None:
    await record_everything(store, ADA, HIBOB)
    await erase(store, ADA)
    new = reported("other:new", ADA)
    event = WebhookEvent("new", "integration-created", body(ADA))
    await store.save_event(event, new, created_at=NOW)
    assert await store.find_integrations(ADA.origin_id) == []
    later = WebhookEvent("newer", "integration-created", body(ADA))
    await store.save_event(later, new, created_at=LATER)
    state = WebhookEvent("state", "integration-state-changed", {})
    await store.save_event(state, ReportedState("other:new", "ACTIVE", None, None))
    await store.save_event(WebhookEvent("again", "integration-created", body(ADA)), new)
    [found] = await store.find_integrations(ADA.origin_id)
    assert (found.integration_id, found.status, found.email) == ("other:new", "ACTIVE", ADA.email)
    # Of those that were erased, still nothing.
    await store.save_event(
        WebhookEvent("old", "integration-created", body(ADA)), reported(HIBOB, ADA), created_at=LATER
    )
    assert len(await store.find_integrations(ADA.origin_id)) == 1


async def test_a_signed_in_completion_lifts_the_mark(store: Store) -> None:
    await record_everything(store, ADA, HIBOB, PERSONIO)
    await erase(store, ADA)
    new = WebhookEvent("new", "integration-created", body(ADA)), reported("other:new", ADA)
    assert not await store.save_event(*new, unless_erased=True)
    about = reported(HIBOB, ADA)
    completed = await store.save_completion(about, activation_token="new", origin_id=ADA.origin_id)
    assert completed is not None
    assert completed.first
    assert await store.save_event(*new, unless_erased=True)
    assert len(await store.find_integrations(ADA.origin_id)) == 2
    # The other erased integration stays erased until it is completed itself.
    await store.save_event(WebhookEvent("old", "integration-created", body(ADA)), reported(PERSONIO, ADA))
    assert len(await store.find_integrations(ADA.origin_id)) == 2


async def test_what_is_connected_again_during_the_erasure_stays(store: Store) -> None:
    await record_everything(store, ADA, HIBOB, PERSONIO)
    await store.erasures.begin(ADA.origin_id, actor=None)
    about = reported("other:new", ADA)
    await store.save_completion(about, activation_token="new", origin_id=ADA.origin_id)
    await go_on(store, ADA)
    assert [one.integration_id for one in await store.find_integrations(ADA.origin_id)] == ["other:new"]


async def test_an_integration_whose_customer_was_unknown_is_erased_with_the_one_that_its_events_name(
    store: Store, database_url: str
) -> None:
    about = reported(HIBOB, ADA, origin_id=None)
    await store.save_event(WebhookEvent("e1", "integration-created", {}), about)
    data = body(ADA, integration_id=HIBOB)
    await store.save_event(WebhookEvent("e2", "data-changed", data), None)
    await erase(store, ADA)
    assert left(await everything(database_url), *PERSONAL) == {}


async def test_an_integration_is_erased_when_its_details_name_an_erased_customer(
    store: Store, database_url: str
) -> None:
    await store.save_event(
        WebhookEvent("e1", "integration-created", {}), reported(HIBOB, ADA, origin_id=None)
    )
    await store.save_event(WebhookEvent("e2", "integration-created", {}), reported(BOBS, BOB))
    await erase(store, ADA)
    assert "Lovelace" in str(await everything(database_url)), "nothing says yet that it is hers"
    [bobs] = await store.find_integrations(BOB.origin_id)
    details = IntegrationDetails(HIBOB, "hibob", "HRIS", "ACTIVE", "COMPLETED", ADA.origin_id)
    assert await store.save_details(details, states_unless_changed_since=NOW) is None
    assert left(await everything(database_url), *PERSONAL) == {}
    # Another customer's integration stays, whomever Kombo names.
    details = replace(details, integration_id=BOBS)
    changed = await store.save_details(details, states_unless_changed_since=bobs.updated_at)
    assert changed is not None
    assert (changed.status, changed.origin_id) == ("ACTIVE", BOB.origin_id)


async def test_webhooks_that_arrive_during_the_erasure_bring_nothing_back(
    store: Store, database_url: str
) -> None:
    await record_everything(store, ADA, HIBOB, PERSONIO)

    async def deliver(number: int) -> None:
        for repetition in range(10):
            name = f"{number} {repetition}"
            about = reported(f"new:{name}" if repetition % 2 else HIBOB, ADA)
            await store.save_event(WebhookEvent(name, "integration-created", body(ADA)), about)

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(deliver(number))
        group.create_task(erase(store, ADA))
    assert left(await everything(database_url), *PERSONAL) == {}
    assert await store.find_integrations(ADA.origin_id) == []


async def test_an_erasure_waits_for_the_reports_that_are_being_recorded(
    postgres: PostgresServer, postgres_database: str, postgres_url: str
) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = '{}'"
    async with opened_store(postgres_url) as store:
        other = await postgres.connect(postgres_database)
        held = other.transaction()
        await held.start()
        await other.execute("LOCK TABLE kombo_embed_received_events IN ACCESS EXCLUSIVE MODE")
        event = WebhookEvent("e1", "integration-created", body(ADA))
        recording = asyncio.create_task(store.save_event(event, reported(HIBOB, ADA)))
        await until(postgres, postgres_database, waiting.format("relation"))
        erasing = asyncio.create_task(store.erasures.begin(ADA.origin_id, actor=None))
        await until(postgres, postgres_database, waiting.format("advisory"))
        await held.rollback()
        await other.close()
        await recording
        assert await erasing == [HIBOB]
        await go_on(store, ADA)
        assert left(await everything(postgres_url), *PERSONAL) == {}


async def until(postgres: PostgresServer, database: str, query: str) -> None:
    """Wait until a query counts something."""
    async with asyncio.timeout(30):
        while not (await postgres.aexecute(query, database=database))[0][0]:
            pass  # each look is a new connection


async def test_the_audit_trail_keeps_the_acts_under_pseudonyms(store: Store, database_url: str) -> None:
    await record_everything(store, ADA, HIBOB)
    await erase(store, ADA)
    async with opened_database(database_url) as database, database.reading() as connection:
        found = (await connection.execute(select(audit).order_by(audit.c.id))).mappings().all()
    rows = [(row["action"], row["actor"]) for row in found]
    pseudonym = rows[0][1]
    assert pseudonym.startswith("erased:")
    assert rows == [
        ("connected", pseudonym),
        ("reconnected", pseudonym),
        ("magic_link_minted", "command line"),
        ("disconnected", pseudonym),
        ("erased", "command line"),
    ]
    assert {row["detail"] for row in found} == {None}
