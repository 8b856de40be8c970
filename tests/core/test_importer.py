"""Integrations that exist at Kombo are recorded for the customer of the line, or refused with a reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from kombo_embed import Event, Integration, KomboEmbed
from kombo_embed.core.importer import Importer
from kombo_embed.core.reconcile import TOTAL_WAIT_SECONDS
from kombo_embed.errors import KomboRejected
from kombo_embed.sandbox import Sandbox
from kombo_embed.store.support import RecordsReader
from kombo_embed.upstream import ImportLine, ImportResult, InvalidLine
from tests.support import (
    API_KEY,
    DATABASE,
    SANDBOX_URL,
    SQLITE_URL,
    ManualClock,
    database_with_tables,
    deliver_webhooks,
    make_host,
    order_fault,
    person,
    running,
)


@dataclass
class World:
    """A running app, and integrations that were connected without it."""

    embed: KomboEmbed
    client: httpx.AsyncClient
    sandbox: Sandbox
    kombo: httpx.AsyncBaseTransport
    clock: ManualClock
    database_url: str
    waits: list[float] = field(default_factory=list)

    async def connect_by_hand(self, origin_id: str | None = "acme", tool: str = "personio") -> ImportLine:
        """Connect a tool as a hand-written integration does; return the line that names it."""
        body: dict[str, Any] = {
            "end_user_email": "ada@acme.example",
            "end_user_organization_name": "Acme",
            "integration_category": "HRIS",
            "link_type": "EMBEDDED",
        }
        if origin_id is not None:
            body["end_user_origin_id"] = origin_id
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with httpx.AsyncClient(transport=self.kombo, base_url=SANDBOX_URL, headers=headers) as by_hand:
            minted = await by_hand.post("/v1/connect/create-link", json=body)
        flow = await self.sandbox.complete(minted.json()["data"]["link"], tool)
        return ImportLine(2, flow.integration_id, origin_id or "acme")

    async def run(self, *lines: ImportLine | InvalidLine, dry_run: bool = False) -> list[ImportResult]:
        """Import lines, with a manual clock in place of waits."""

        async def wait(seconds: float) -> None:
            self.waits.append(seconds)
            self.clock.advance(seconds)

        services = await self.embed.services()
        client = services.flow._client  # noqa: SLF001 - the host's own, with its circuit breaker
        importer = Importer(client, services.store.imports, clock=self.clock, sleep=wait)
        return [one async for one in importer.run(lines, dry_run=dry_run, actor="command line")]

    async def reason(self, line: ImportLine, *, dry_run: bool = False) -> str | None:
        """Import a line that fails; return why."""
        [result] = await self.run(line, dry_run=dry_run)
        assert result.status == "failed"
        return result.reason

    async def find(self, line: ImportLine) -> Integration | None:
        return await self.embed.integration(line.integration_id)

    async def audit(self) -> list[tuple[str, str | None, str | None]]:
        """Return action, actor and origin id of each entry, newest first."""
        reader = RecordsReader(self.database_url, environment="default", clock=self.clock)
        async with reader.opened() as records:
            entries = await records.audit(origin_id=None, limit=50, before=None)
        return [(one.action, one.actor, one.origin_id) for one in entries]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def database_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a fresh database; PostgreSQL's tests take long."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
async def world(database_url: str, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport) -> AsyncIterator[World]:
    clock = ManualClock()
    if database_url == SQLITE_URL:
        DATABASE.write_bytes(database_with_tables())
    app, embed = make_host(kombo, clock=clock, database_url=database_url)
    async with running(app) as client:
        yield World(embed, client, sandbox, kombo, clock, database_url)


async def test_an_integration_is_recorded_with_what_kombo_and_the_line_say(world: World) -> None:
    line = await world.connect_by_hand()
    line = replace(line, email="ada@acme.example", organization_name="Acme", tool="Personio", category="hris")
    assert [one.status for one in await world.run(line)] == ["imported"]
    found = await world.find(line)
    assert found is not None
    assert (found.origin_id, found.email, found.organization_name) == ("acme", "ada@acme.example", "Acme")
    assert (found.tool, found.category, found.status) == ("personio", "HRIS", "ACTIVE")
    assert (found.setup_status, found.tool_label, found.next_action) == ("COMPLETED", "Personio", "none")
    assert await world.audit() == [("imported", "command line", "acme")]


async def test_a_repetition_changes_nothing(world: World) -> None:
    line = await world.connect_by_hand()
    await world.run(line)
    before, entries = await world.find(line), await world.audit()
    results = await world.run(line, replace(line, number=3))
    assert [(one.number, one.status) for one in results] == [(2, "known"), (3, "known")]
    assert (await world.find(line), await world.audit()) == (before, entries)


async def test_no_handler_is_called_for_what_existed_before(world: World) -> None:
    events: list[Event] = []
    world.embed.on("integration.connected")(events.append)
    world.embed.on("integration.updated")(events.append)
    await world.run(await world.connect_by_hand())
    while await world.embed.run_due():
        pass
    assert events == []


async def test_the_time_of_the_connection_is_the_lines_else_kombos_and_never_in_the_future(
    world: World,
) -> None:
    stated, created, future = [await world.connect_by_hand(tool=tool) for tool in ("hibob", "ukg", "gusto")]
    stated = replace(stated, connected_at=datetime(2020, 1, 31, tzinfo=UTC))
    world.clock.now += 10 * 365 * 86_400  # after what the sandbox has created
    future = replace(future, connected_at=datetime(2099, 1, 31, tzinfo=UTC))
    await world.run(stated, created, future)
    times = [found.connected_at for line in (stated, created, future) if (found := await world.find(line))]
    assert times[0] == stated.connected_at
    assert abs(times[1] - datetime.now(UTC)) < timedelta(hours=1)
    assert times[2] == datetime.fromtimestamp(world.clock.now, UTC)


async def test_an_imported_tool_counts_as_connected(world: World) -> None:
    await world.run(await world.connect_by_hand())
    link = {"integration_tool": "personio"}
    answer = await world.client.post("/kombo/links", headers=person("ada@acme"), json=link)
    assert (answer.status_code, answer.json()["code"]) == (409, "already_connected")


@pytest.mark.parametrize("dry_run", [False, True])
async def test_an_integration_of_another_customer_is_refused(world: World, *, dry_run: bool) -> None:
    line = await world.connect_by_hand("bolt")
    assert await world.reason(replace(line, origin_id="acme"), dry_run=dry_run) == "other_customer"
    unnamed = await world.connect_by_hand(None)  # Kombo does not say whose it is
    await world.run(replace(unnamed, origin_id="bolt"))
    assert await world.reason(unnamed, dry_run=dry_run) == "other_customer"
    found = await world.find(unnamed)
    assert found is not None
    assert found.origin_id == "bolt"


async def test_a_line_that_names_another_tool_or_category_is_refused(world: World) -> None:
    line = await world.connect_by_hand()
    assert await world.reason(replace(line, tool="hibob")) == "other_tool"
    assert await world.reason(replace(line, category="ATS")) == "other_tool"
    assert await world.find(line) is None


@pytest.mark.parametrize("integration_id", ["personio:unknown", "../check-api-key", "a" * 3000, "x"])
async def test_an_integration_that_kombo_does_not_know_is_refused(world: World, integration_id: str) -> None:
    assert await world.reason(ImportLine(2, integration_id, "acme")) == "not_found"
    assert "GET /v1/check-api-key" not in world.sandbox.calls


async def test_a_deletion_is_final(world: World) -> None:
    line = await world.connect_by_hand()
    await world.run(line)
    found = await world.find(line)
    assert found is not None
    store = (await world.embed.services()).store
    await store.save_deleted(found)
    assert await world.reason(line) == "deleted"
    assert await world.find(line) is None


@pytest.mark.parametrize("dry_run", [False, True])
async def test_what_was_erased_does_not_come_back(world: World, *, dry_run: bool) -> None:
    recorded, unknown = await world.connect_by_hand(), await world.connect_by_hand(tool="hibob")
    await world.run(recorded)
    store = (await world.embed.services()).store
    world.clock.now += 10 * 365 * 86_400  # after all that the sandbox has created
    await store.erasures.begin("acme", actor=None)
    for line in (recorded, unknown):
        assert await world.reason(line, dry_run=dry_run) == "erased"


async def test_what_kombo_created_after_the_erasure_is_imported(world: World) -> None:
    world.clock.now = 1_000_000_000.0  # before all that the sandbox creates
    await (await world.embed.services()).store.erasures.begin("acme", actor=None)
    assert [one.status for one in await world.run(await world.connect_by_hand())] == ["imported"]


async def test_what_is_unknown_about_a_recorded_integration_is_completed(world: World) -> None:
    deliver_webhooks(world.sandbox, world.client._transport.app)  # type: ignore[attr-defined] # noqa: SLF001
    line = await world.connect_by_hand(None)
    await world.sandbox.settle()
    found = await world.find(line)
    assert found is not None
    assert found.origin_id is None
    assert [one.status for one in await world.run(line, dry_run=True)] == ["completed"]
    assert [one.status for one in await world.run(line)] == ["completed"]
    found = await world.find(line)
    assert found is not None
    assert found.origin_id == "acme"
    assert ("imported", "command line", "acme") in await world.audit()
    assert [one.status for one in await world.run(line)] == ["known"]


async def test_a_dry_run_reports_the_same_and_changes_nothing(world: World) -> None:
    line = await world.connect_by_hand(None)
    lines = [line, replace(line, number=3), replace(line, number=4, origin_id="bolt")]
    tried = await world.run(*lines, dry_run=True)
    assert (await world.find(line), await world.audit()) == (None, [])
    assert [one.status for one in tried] == ["imported", "known", "failed"]
    assert await world.run(*lines) == tried


async def test_a_line_that_fails_affects_no_other(world: World) -> None:
    line = await world.connect_by_hand()
    bad = InvalidLine(1, "not CSV")
    results = await world.run(bad, ImportLine(2, "personio:unknown", "acme"), replace(line, number=3))
    assert [(one.number, one.status, one.reason) for one in results] == [
        (1, "failed", "invalid_line"),
        (2, "failed", "not_found"),
        (3, "imported", None),
    ]


async def test_kombos_rate_limit_is_waited_for(world: World) -> None:
    line = await world.connect_by_hand()
    await order_fault(world.sandbox, line.integration_id, "rate_limited", times=2, retry_after=30)
    assert [one.status for one in await world.run(line)] == ["imported"]
    assert world.waits == [30, 30]


async def test_lines_fail_once_the_waits_of_an_outage_are_used_up(world: World) -> None:
    down, up = await world.connect_by_hand(), await world.connect_by_hand(tool="hibob")
    await order_fault(world.sandbox, down.integration_id, "rate_limited", times=1000, retry_after=60)
    results = await world.run(down, down)
    assert [one.reason for one in results] == ["kombo_rate_limited"] * 2
    assert TOTAL_WAIT_SECONDS - 60 < sum(world.waits) <= TOTAL_WAIT_SECONDS
    world.clock.advance(3600)
    assert [one.status for one in await world.run(up)] == ["imported"]


async def test_a_refused_api_key_stops_the_import_and_keeps_what_was_recorded(world: World) -> None:
    first, second = await world.connect_by_hand(), await world.connect_by_hand(tool="hibob")
    await order_fault(world.sandbox, second.integration_id, "unauthorized")
    with pytest.raises(KomboRejected):
        await world.run(first, second)
    assert await world.find(first) is not None
    assert await world.find(second) is None


async def test_a_duplicate_is_reported_to_handlers(world: World) -> None:
    events: list[Event] = []
    world.embed.on("integration.duplicate")(events.append)
    await world.run(await world.connect_by_hand(), await world.connect_by_hand())
    while not events:
        await world.embed.run_due()
    assert [one.data["count"] for one in events] == [2]
