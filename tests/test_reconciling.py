from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest

from kombo_embed import Event, KomboEmbed
from kombo_embed.core.reconcile import TOTAL_WAIT_SECONDS, RETRY_SECONDS, ATTEMPTS, Reconciler
from kombo_embed.sandbox import Sandbox
from tests.support import API_KEY, ManualClock, change_state, eventually, make_host, order_fault, running


@dataclass
class Lost:
    """An app to which no webhook comes, and the sandbox with what it connected."""

    embed: KomboEmbed
    sandbox: Sandbox
    kombo: httpx.AsyncBaseTransport
    clock: ManualClock
    ids: list[str]
    heard: list[Event] = field(default_factory=list)

    async def forget(self, integration_id: str) -> None:
        async with httpx.AsyncClient(
            transport=self.kombo,
            base_url="http://localhost:8001",
            headers={"Authorization": f"Bearer {API_KEY}"},
        ) as dashboard:
            path = f"/v1/integrations/{integration_id}"
            (await dashboard.request("DELETE", path, json={})).raise_for_status()

    def told(self) -> set[tuple[str, str]]:
        return {(one.type, one.integration.integration_id) for one in self.heard if one.integration}

    def asked(self) -> int:
        return self.sandbox.calls.get("GET /v1/integrations/{integration_id}", 0)

    async def statuses(self) -> list[str | None]:
        found = [await self.embed.integration(one) for one in self.ids]
        return [one.status if one else "deleted" for one in found]


@pytest.fixture
async def lost(sandbox: Sandbox, kombo: httpx.AsyncBaseTransport) -> AsyncIterator[Lost]:
    clock = ManualClock()
    app, embed = make_host(kombo, clock=clock)
    async with running(app) as client:
        lost = Lost(embed, sandbox, kombo, clock, [])
        for name in ("acme", "bletchley", "cavendish"):
            person = {"X-Person": f"ada@{name}"}
            link = (await client.post("/kombo/links", headers=person, json={})).json()["link"]
            flow = await sandbox.complete(link, "personio")
            token = {"activation_token": flow.activation_token}
            assert (await client.post("/kombo/completions", headers=person, json=token)).status_code == 201
            lost.ids.append(flow.integration_id)
        await eventually_active(lost)
        for type_ in ("integration.updated", "integration.deleted"):
            embed.on(type_)(lost.heard.append)
        yield lost


async def eventually_active(lost: Lost) -> None:
    for _ in range(500):
        if await lost.statuses() == ["ACTIVE"] * 3:
            return
    raise AssertionError(await lost.statuses())


async def test_what_webhooks_that_were_lost_would_have_told_is_taken_over(lost: Lost) -> None:
    await change_state(lost.sandbox, lost.ids[0], "INVALID")
    await lost.forget(lost.ids[1])
    progress: list[int] = []
    result = await lost.embed.reconcile(on_progress=progress.append)
    assert (result.checked, result.updated, result.deleted, result.failed) == (3, 1, 1, {})
    assert progress == [1, 2, 3]
    assert await lost.statuses() == ["INVALID", "deleted", "ACTIVE"]
    wanted = {("integration.updated", lost.ids[0]), ("integration.deleted", lost.ids[1])}
    await eventually(lambda: wanted <= lost.told())
    again = await lost.embed.reconcile()
    assert (again.checked, again.updated, again.deleted) == (2, 0, 0)


async def test_one_that_cannot_be_read_is_counted_and_the_others_go_on(lost: Lost) -> None:
    await order_fault(lost.sandbox, lost.ids[1], "foreign_json", times=1)
    result = await lost.embed.reconcile()
    assert result.checked == 3
    assert result.failed == {lost.ids[1]: "kombo_invalid_response"}


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_where_kombo_knows_nothing_of_anything_nothing_is_deleted(lost: Lost, number: int) -> None:
    for one in lost.ids[number:]:
        await lost.forget(one)
    if number < len(lost.ids):
        assert (await lost.embed.reconcile()).deleted == len(lost.ids) - number
    for one in lost.ids[:number]:
        await lost.forget(one)
    result = await lost.embed.reconcile()
    assert (result.deleted, result.failed) == (0, dict.fromkeys(lost.ids[:number], "all_not_found"))
    assert (await lost.statuses())[:number] == ["ACTIVE"] * number


async def test_one_that_cannot_be_read_does_not_show_that_kombo_knows_any(lost: Lost) -> None:
    for one in lost.ids[:2]:
        await lost.forget(one)
    await order_fault(lost.sandbox, lost.ids[2], "foreign_json", times=1)
    result = await lost.embed.reconcile()
    assert result.deleted == 0
    assert sorted(result.failed.values()) == ["all_not_found", "all_not_found", "kombo_invalid_response"]


async def test_who_knows_that_all_are_gone_can_have_them_deleted(lost: Lost) -> None:
    for one in lost.ids:
        await lost.forget(one)
    result = await lost.embed.reconcile(delete_all_unknown=True)
    assert (result.deleted, result.failed) == (3, {})
    assert await lost.statuses() == ["deleted"] * 3


@dataclass
class Waiting:
    """A reconciler whose waits take no time, and how long they would have been."""

    reconciler: Reconciler
    waits: list[float]


@pytest.fixture
async def waiting(lost: Lost) -> Waiting:
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)
        lost.clock.advance(seconds)

    services = await lost.embed.services()
    client = services.flow._client  # noqa: SLF001 - the host's own, with its gate
    reconciler = Reconciler(
        client, services.store, clock=lost.clock, wake_dispatcher=lambda: None, sleep=wait
    )
    return Waiting(reconciler, waits)


async def test_kombos_wish_to_wait_is_respected_within_bounds(lost: Lost, waiting: Waiting) -> None:
    await order_fault(lost.sandbox, lost.ids[0], "rate_limited", times=3, retry_after=30)
    result = await waiting.reconciler.run()
    assert (result.checked, result.failed) == (3, {})
    assert waiting.waits
    started = lost.clock.monotonic()
    for one in lost.ids:
        await order_fault(lost.sandbox, one, "rate_limited", times=1000, retry_after=30)
    result = await waiting.reconciler.run()
    assert set(result.failed.values()) == {"kombo_rate_limited"}
    assert lost.clock.monotonic() - started <= TOTAL_WAIT_SECONDS


async def test_patience_does_not_start_again_with_each_success(lost: Lost, waiting: Waiting) -> None:
    """Each is told to wait nearly as long as patience lasts, and can be read then."""
    started = lost.clock.monotonic()
    for one in lost.ids:
        await order_fault(lost.sandbox, one, "rate_limited", times=4, retry_after=60)
    result = await waiting.reconciler.run()
    assert 1 <= len(result.failed) < len(lost.ids)
    assert lost.clock.monotonic() - started <= TOTAL_WAIT_SECONDS


async def test_one_that_kombo_always_fails_on_is_not_waited_for(lost: Lost, waiting: Waiting) -> None:
    await order_fault(lost.sandbox, lost.ids[1], "empty_500", times=1000)
    before = lost.asked()
    result = await waiting.reconciler.run()
    assert (result.checked, result.failed) == (3, {lost.ids[1]: "kombo_unavailable"})
    assert waiting.waits == [RETRY_SECONDS] * (ATTEMPTS - 1)
    assert lost.asked() - before == 2 + ATTEMPTS


async def test_one_that_fails_for_a_moment_is_read_all_the_same(lost: Lost, waiting: Waiting) -> None:
    await order_fault(lost.sandbox, lost.ids[1], "empty_500", times=ATTEMPTS - 1)
    result = await waiting.reconciler.run()
    assert (result.checked, result.failed) == (3, {})


async def test_one_whose_failures_close_the_gate_is_not_waited_for_either(
    lost: Lost, waiting: Waiting
) -> None:
    """The client tries this one again by itself, until its own gate refuses."""
    await order_fault(lost.sandbox, lost.ids[1], "html_503", times=1000)
    result = await waiting.reconciler.run()
    assert result.failed == {lost.ids[1]: "kombo_unavailable"}
    assert sum(waiting.waits) <= TOTAL_WAIT_SECONDS / 10


async def test_a_record_that_changes_meanwhile_is_left_alone(lost: Lost) -> None:
    services = await lost.embed.services()  # between question and answer
    known = await lost.embed.integration(lost.ids[0])
    assert known is not None
    details = await services.flow._client.integration_details(lost.ids[0])  # noqa: SLF001 - as above
    await change_state(lost.sandbox, lost.ids[0], "INVALID")
    await lost.embed.reconcile()
    late = await services.store.save_details(details, states_unless_changed_since=known.updated_at)
    assert late is None
    await services.store.save_deleted(known, unless_changed_since=known.updated_at)
    assert (await lost.statuses())[0] == "INVALID"
