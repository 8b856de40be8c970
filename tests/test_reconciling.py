from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest

from kombo_embed import Event, KomboEmbed
from kombo_embed.reconciling import PATIENCE, Reconciler
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


async def test_where_kombo_knows_nothing_of_anything_nothing_is_deleted(lost: Lost) -> None:
    for one in lost.ids:
        await lost.forget(one)
    result = await lost.embed.reconcile()
    assert (result.deleted, set(result.failed.values())) == (0, {"all_not_found"})
    assert await lost.statuses() == ["ACTIVE"] * 3


async def test_kombos_wish_to_wait_is_respected_within_bounds(lost: Lost) -> None:
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)
        lost.clock.advance(seconds)

    services = await lost.embed.services()  # with a sleep that takes no time
    client = services.flow._client  # noqa: SLF001 - as above
    reconciler = Reconciler(client, services.store, clock=lost.clock, wake_hooks=lambda: None, sleep=wait)
    await order_fault(lost.sandbox, lost.ids[0], "rate_limited", times=3, retry_after=30)
    result = await reconciler.run()
    assert (result.checked, result.failed) == (3, {})
    assert waits
    waits.clear()
    for one in lost.ids:
        await order_fault(lost.sandbox, one, "rate_limited", times=1000, retry_after=30)
    result = await reconciler.run()
    assert set(result.failed.values()) == {"kombo_rate_limited"}
    assert sum(waits) <= 5 * PATIENCE


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
