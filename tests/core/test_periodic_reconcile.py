"""Reconciliation runs by itself: the oldest check first, in one process, deleting nothing in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import pytest

from kombo_embed import Event, KomboEmbed
from kombo_embed.core.periodic_reconcile import (
    FAILURE_PAUSE_SECONDS,
    MAX_LOOK_SECONDS,
    MIN_LOOK_SECONDS,
    Pace,
    PeriodicReconciler,
)
from kombo_embed.sandbox import Sandbox
from kombo_embed.web.endpoints import Services
from tests.fakes import FlakyTransport, RecordingTransport, respond
from tests.support import (
    API_KEY,
    SANDBOX_URL,
    LogRecorder,
    ManualClock,
    change_state,
    deliver_webhooks,
    eventually,
    make_host,
    order_fault,
    person,
    recorded_statements,
    running,
)

DAY = 24 * 3600.0
DETAILS = "/integrations/"
UNKNOWN = {"status": "error", "error": {"code": "PLATFORM.INTEGRATION_NOT_FOUND", "message": "?"}}


@dataclass
class Host:
    """An app with integrations whose details are known; it receives no webhooks any more."""

    embed: KomboEmbed
    services: Services
    sandbox: Sandbox
    kombo: httpx.AsyncBaseTransport
    clock: ManualClock
    calls: RecordingTransport
    details: FlakyTransport
    ids: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def reconciler(
        self, *, per_second: float = 100_000, services: Services | None = None
    ) -> PeriodicReconciler:
        of = services or self.services
        return PeriodicReconciler(
            of.flow._client,  # noqa: SLF001 - the host's own, with its circuit breaker
            of.store,
            of.store.details,
            pace=Pace(timedelta(days=1), per_second),
            clock=self.clock,
            wake_dispatcher=lambda: None,
        )

    async def delete_at_kombo(self, *integration_ids: str) -> None:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with httpx.AsyncClient(transport=self.kombo, base_url=SANDBOX_URL, headers=headers) as client:
            for one in integration_ids:
                response = await client.request("DELETE", f"/v1/integrations/{one}", json={})
                response.raise_for_status()

    async def statuses(self) -> list[str | None]:
        found = [await self.embed.integration(one) for one in self.ids]
        return [one.status if one else "deleted" for one in found]

    async def until(self, statuses: list[str | None]) -> None:
        async with asyncio.timeout(30):
            while await self.statuses() != statuses:
                pass  # each look is a database call

    def read(self) -> list[str]:
        """Return the ids of the integrations that were read from Kombo, in this order."""
        reads = [request for request in self.calls.requests if request.method == "GET"]
        return [path.rpartition("/")[2] for request in reads if DETAILS in (path := request.url.path)]


@pytest.fixture
def size() -> int:
    return 3


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"reconcile_every": "off"}


@pytest.fixture
async def host(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, size: int, settings: dict[str, Any]
) -> AsyncIterator[Host]:
    clock = ManualClock()
    details = FlakyTransport(kombo, path=DETAILS)
    calls = RecordingTransport(details)
    app, embed = make_host(calls, clock=clock, **settings)
    async with running(app) as client:
        deliver_webhooks(sandbox, app)
        host = Host(embed, await embed.services(), sandbox, kombo, clock, calls, details)
        for number in range(size):
            headers = person(f"ada@customer-{number}")
            link = (await client.post("/kombo/links", headers=headers, json={})).json()["link"]
            host.ids.append((await sandbox.complete(link, "personio")).integration_id)
        await sandbox.settle()
        await host.until(["ACTIVE"] * size)
        sandbox.webhook_url = None
        calls.requests.clear()
        for event_type in ("integration.updated", "integration.deleted"):
            embed.on(event_type)(host.events.append)
        yield host


@pytest.mark.parametrize("settings", [{"reconcile_every": "1d", "reconcile_rate": "1000/second"}])
async def test_the_running_app_records_what_lost_webhooks_reported(host: Host) -> None:
    await change_state(host.sandbox, host.ids[0], "INVALID")
    host.clock.advance(DAY - 1)
    assert await host.statuses() == ["ACTIVE"] * 3
    host.clock.advance(MIN_LOOK_SECONDS)
    await host.until(["INVALID", "ACTIVE", "ACTIVE"])
    await eventually(lambda: "INVALID" in [one.integration.status for one in host.events if one.integration])


async def test_each_integration_is_read_once_per_interval_the_oldest_check_first(host: Host) -> None:
    reconciler = host.reconciler()
    await run_at(host, reconciler, seconds=DAY - 100)
    assert host.read() == []
    await run_at(host, reconciler, seconds=MAX_LOOK_SECONDS)
    assert sorted(host.read()) == sorted(host.ids)
    await run_at(host, reconciler, seconds=MAX_LOOK_SECONDS)
    assert len(host.read()) == 3
    host.calls.requests.clear()
    # Of the third one, the details were read later than of the others.
    [third] = [await host.embed.integration(host.ids[2])]
    assert third is not None
    await host.services.store.details.save_checked(third)
    await run_at(host, reconciler, seconds=DAY - MAX_LOOK_SECONDS)
    assert sorted(host.read()) == sorted(host.ids[:2])


async def run_at(host: Host, reconciler: PeriodicReconciler, *, seconds: float) -> None:
    """Run what is due so many seconds later."""
    host.clock.advance(seconds)
    await reconciler.run_once()


@pytest.mark.parametrize("size", [20])
async def test_what_kombo_does_not_know_is_deleted_if_it_knows_nearly_all(host: Host) -> None:
    await host.delete_at_kombo(host.ids[7])
    await run_at(host, host.reconciler(), seconds=DAY)
    assert await host.statuses() == ["ACTIVE"] * 7 + ["deleted"] + ["ACTIVE"] * 12
    await eventually(lambda: [event.type for event in host.events].count("integration.deleted") == 1)


@pytest.mark.parametrize(("size", "missing"), [(20, 2), (20, 20), (1, 1)])
async def test_nothing_is_deleted_while_over_a_twentieth_of_the_reads_are_404(
    host: Host, log: LogRecorder, missing: int, size: int
) -> None:
    await host.delete_at_kombo(*host.ids[:missing])
    await run_at(host, host.reconciler(), seconds=DAY)
    assert await host.statuses() == ["ACTIVE"] * size
    assert [line for line in log.lines if "reconcile.deletions_withheld" in line] != []
    # A person decides.
    result = await host.embed.reconcile(delete_all_unknown=True)
    assert result.deleted == missing


@pytest.mark.parametrize("size", [45])
async def test_404_of_a_wrong_key_deletes_nothing_after_the_key_is_right_again(host: Host) -> None:
    others = [await host.embed.integration(one) for one in host.ids[2:]]
    host.clock.advance(3600)
    for one in others:
        assert one is not None
        await host.services.store.details.save_checked(one)
    reconciler = host.reconciler()
    host.details.then = respond(404, json=UNKNOWN)
    await run_at(host, reconciler, seconds=DAY - 3600)
    assert sorted(host.read()) == sorted(host.ids[:2])
    host.details.then = None
    await run_at(host, reconciler, seconds=3600)  # now the answers of 404 are few
    assert set(host.read()) == set(host.ids)
    assert await host.statuses() == ["ACTIVE"] * 45


async def test_one_process_at_a_time_reconciles(host: Host) -> None:
    async with AsyncExitStack() as stack:
        apps = [make_host(host.calls, clock=host.clock, reconcile_every="off") for _ in range(2)]
        for app, _ in apps:
            await stack.enter_async_context(running(app))
        services = [await embed.services() for _, embed in apps]
        reconcilers = [host.reconciler(services=one) for one in services]
        host.clock.advance(DAY)
        await asyncio.gather(*(one.run_once() for one in reconcilers))
    assert sorted(host.read()) == sorted(host.ids)


async def test_another_process_continues_when_the_lease_of_a_dead_one_has_ended(host: Host) -> None:
    app, embed = make_host(host.calls, clock=host.clock, reconcile_every="off")
    async with running(app):
        dead = (await embed.services()).store.details
        reconciler = host.reconciler()
        host.clock.advance(DAY)
        assert await dead.take_lease("reconcile", seconds=60)
        await reconciler.run_once()
        assert host.read() == []
        await run_at(host, reconciler, seconds=59)
        assert host.read() == []
        await run_at(host, reconciler, seconds=31)
        assert sorted(host.read()) == sorted(host.ids)


async def test_an_integration_that_cannot_be_read_does_not_stop_the_others(host: Host) -> None:
    await order_fault(host.sandbox, host.ids[0], "unknown_code", times=1000)
    await change_state(host.sandbox, host.ids[2], "INVALID")
    await run_at(host, host.reconciler(), seconds=DAY)
    assert await host.statuses() == ["ACTIVE", "ACTIVE", "INVALID"]


async def test_while_kombo_is_down_the_calls_become_rare_and_nothing_changes(host: Host) -> None:
    host.details.then = respond(503)
    reconciler = host.reconciler()
    host.clock.advance(DAY)
    for _ in range(600):
        await reconciler.run_once()
        host.clock.advance(1)
    assert len(host.read()) <= 3 * 600 / FAILURE_PAUSE_SECONDS + 3
    host.details.then = None
    await change_state(host.sandbox, host.ids[0], "INVALID")
    await run_at(host, reconciler, seconds=FAILURE_PAUSE_SECONDS)
    assert await host.statuses() == ["INVALID", "ACTIVE", "ACTIVE"]


async def test_with_nothing_to_check_the_database_is_asked_every_five_minutes_at_most(host: Host) -> None:
    reconciler = host.reconciler()
    asked = 0
    for _ in range(3600):
        with recorded_statements() as statements:
            await reconciler.run_once()
        asked += sum("checked_at" in one for one in statements)
        host.clock.advance(1)
    assert asked <= 2 * 3600 / MAX_LOOK_SECONDS
