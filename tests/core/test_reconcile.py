from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest

from kombo_embed import Event, KomboEmbed
from kombo_embed.core.reconcile import ATTEMPTS, RETRY_SECONDS, TOTAL_WAIT_SECONDS, Reconciler
from kombo_embed.sandbox import Sandbox
from tests.support import API_KEY, ManualClock, change_state, eventually, make_host, order_fault, running


@dataclass
class Host:
    """An app that receives no webhooks, and the sandbox with three integrations of it."""

    embed: KomboEmbed
    sandbox: Sandbox
    kombo: httpx.AsyncBaseTransport
    clock: ManualClock
    ids: list[str]
    events: list[Event] = field(default_factory=list)

    async def delete_at_kombo(self, integration_id: str) -> None:
        async with httpx.AsyncClient(
            transport=self.kombo,
            base_url="http://localhost:8001",
            headers={"Authorization": f"Bearer {API_KEY}"},
        ) as dashboard:
            path = f"/v1/integrations/{integration_id}"
            (await dashboard.request("DELETE", path, json={})).raise_for_status()

    def reported(self) -> set[tuple[str, str]]:
        return {(one.type, one.integration.integration_id) for one in self.events if one.integration}

    def detail_calls(self) -> int:
        return self.sandbox.calls.get("GET /v1/integrations/{integration_id}", 0)

    async def statuses(self) -> list[str | None]:
        found = [await self.embed.integration(one) for one in self.ids]
        return [one.status if one else "deleted" for one in found]


@pytest.fixture
async def host(sandbox: Sandbox, kombo: httpx.AsyncBaseTransport) -> AsyncIterator[Host]:
    clock = ManualClock()
    app, embed = make_host(kombo, clock=clock)
    async with running(app) as client:
        host = Host(embed, sandbox, kombo, clock, [])
        for name in ("acme", "bletchley", "cavendish"):
            person = {"X-Person": f"ada@{name}"}
            link = (await client.post("/kombo/links", headers=person, json={})).json()["link"]
            flow = await sandbox.complete(link, "personio")
            token = {"activation_token": flow.activation_token}
            assert (await client.post("/kombo/completions", headers=person, json=token)).status_code == 201
            host.ids.append(flow.integration_id)
        await wait_until_active(host)
        for type_ in ("integration.updated", "integration.deleted"):
            embed.on(type_)(host.events.append)
        yield host


async def wait_until_active(host: Host) -> None:
    async with asyncio.timeout(30):
        while await host.statuses() != ["ACTIVE"] * 3:
            pass  # each look is a database call


async def test_changes_of_lost_webhooks_are_recorded_and_raise_events(host: Host) -> None:
    await change_state(host.sandbox, host.ids[0], "INVALID")
    await host.delete_at_kombo(host.ids[1])
    progress: list[int] = []
    result = await host.embed.reconcile(on_progress=progress.append)
    assert (result.checked, result.updated, result.deleted, result.failed) == (3, 1, 1, {})
    assert progress == [1, 2, 3]
    assert await host.statuses() == ["INVALID", "deleted", "ACTIVE"]
    wanted = {("integration.updated", host.ids[0]), ("integration.deleted", host.ids[1])}
    await eventually(lambda: wanted <= host.reported())
    again = await host.embed.reconcile()
    assert (again.checked, again.updated, again.deleted) == (2, 0, 0)


async def test_an_unreadable_integration_is_counted_as_failed_and_the_others_are_read(host: Host) -> None:
    await order_fault(host.sandbox, host.ids[1], "foreign_json", times=1)
    result = await host.embed.reconcile()
    assert result.checked == 3
    assert result.failed == {host.ids[1]: "kombo_invalid_response"}


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_nothing_is_deleted_if_kombo_recognizes_none_of_the_integrations(
    host: Host, number: int
) -> None:
    for one in host.ids[number:]:
        await host.delete_at_kombo(one)
    if number < len(host.ids):
        assert (await host.embed.reconcile()).deleted == len(host.ids) - number
    for one in host.ids[:number]:
        await host.delete_at_kombo(one)
    result = await host.embed.reconcile()
    assert (result.deleted, result.failed) == (0, dict.fromkeys(host.ids[:number], "all_not_found"))
    assert (await host.statuses())[:number] == ["ACTIVE"] * number


async def test_an_unreadable_integration_does_not_count_as_recognized(host: Host) -> None:
    for one in host.ids[:2]:
        await host.delete_at_kombo(one)
    await order_fault(host.sandbox, host.ids[2], "foreign_json", times=1)
    result = await host.embed.reconcile()
    assert result.deleted == 0
    assert sorted(result.failed.values()) == ["all_not_found", "all_not_found", "kombo_invalid_response"]


async def test_delete_all_unknown_deletes_even_if_kombo_recognizes_none(host: Host) -> None:
    for one in host.ids:
        await host.delete_at_kombo(one)
    result = await host.embed.reconcile(delete_all_unknown=True)
    assert (result.deleted, result.failed) == (3, {})
    assert await host.statuses() == ["deleted"] * 3


@dataclass
class Waiting:
    """A reconciler that waits on a manual clock, and the waits in seconds."""

    reconciler: Reconciler
    waits: list[float]


@pytest.fixture
async def waiting(host: Host) -> Waiting:
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)
        host.clock.advance(seconds)

    services = await host.embed.services()
    client = services.flow._client  # noqa: SLF001 - the host's own, with its circuit breaker
    reconciler = Reconciler(
        client, services.store, clock=host.clock, wake_dispatcher=lambda: None, sleep=wait
    )
    return Waiting(reconciler, waits)


async def test_retry_after_is_respected_within_the_total_wait(host: Host, waiting: Waiting) -> None:
    await order_fault(host.sandbox, host.ids[0], "rate_limited", times=3, retry_after=30)
    result = await waiting.reconciler.run()
    assert (result.checked, result.failed) == (3, {})
    assert waiting.waits
    started = host.clock.monotonic()
    for one in host.ids:
        await order_fault(host.sandbox, one, "rate_limited", times=1000, retry_after=30)
    result = await waiting.reconciler.run()
    assert set(result.failed.values()) == {"kombo_rate_limited"}
    assert host.clock.monotonic() - started <= TOTAL_WAIT_SECONDS


async def test_the_total_wait_does_not_restart_with_each_success(host: Host, waiting: Waiting) -> None:
    """Each integration needs nearly the total wait and can be read after it."""
    started = host.clock.monotonic()
    for one in host.ids:
        await order_fault(host.sandbox, one, "rate_limited", times=4, retry_after=60)
    result = await waiting.reconciler.run()
    assert 1 <= len(result.failed) < len(host.ids)
    assert host.clock.monotonic() - started <= TOTAL_WAIT_SECONDS


async def test_an_integration_that_always_fails_does_not_spend_the_total_wait(
    host: Host, waiting: Waiting
) -> None:
    await order_fault(host.sandbox, host.ids[1], "empty_500", times=1000)
    before = host.detail_calls()
    result = await waiting.reconciler.run()
    assert (result.checked, result.failed) == (3, {host.ids[1]: "kombo_unavailable"})
    assert waiting.waits == [RETRY_SECONDS] * (ATTEMPTS - 1)
    assert host.detail_calls() - before == 2 + ATTEMPTS


async def test_an_integration_that_fails_briefly_is_read(host: Host, waiting: Waiting) -> None:
    await order_fault(host.sandbox, host.ids[1], "empty_500", times=ATTEMPTS - 1)
    result = await waiting.reconciler.run()
    assert (result.checked, result.failed) == (3, {})


async def test_failures_that_open_the_circuit_breaker_do_not_spend_the_total_wait(
    host: Host, waiting: Waiting
) -> None:
    """The client itself retries this failure until its circuit breaker opens."""
    await order_fault(host.sandbox, host.ids[1], "html_503", times=1000)
    result = await waiting.reconciler.run()
    assert result.failed == {host.ids[1]: "kombo_unavailable"}
    assert sum(waiting.waits) <= TOTAL_WAIT_SECONDS / 10


async def test_a_status_that_changes_during_the_read_is_not_touched(host: Host) -> None:
    services = await host.embed.services()  # its read and its save, with a change in between
    known = await host.embed.integration(host.ids[0])
    assert known is not None
    details = await services.flow._client.integration_details(host.ids[0])  # noqa: SLF001 - as above
    await change_state(host.sandbox, host.ids[0], "INVALID")
    await host.embed.reconcile()
    late = await services.store.save_details(details, states_unless_changed_since=known.updated_at)
    assert late is None
    await services.store.save_deleted(known, unless_changed_since=known.updated_at)
    assert (await host.statuses())[0] == "INVALID"
