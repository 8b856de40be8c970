"""What happens to an integration after it was connected: states, reconnection, setup, deletion."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kombo_embed import EndUser, Event, KomboEmbed
from kombo_embed.kombo.webhooks import parse_report
from kombo_embed.sandbox import Sandbox
from kombo_embed.store.store import Store
from kombo_embed.upstream import ReportedIntegration, WebhookEvent
from tests.support import (
    ManualClock,
    change_state,
    deliver_webhooks,
    eventually,
    make_host,
    minted,
    order_fault,
    person,
    running,
)

ADA, OTHER = person("ada@acme"), person("alan@bletchley")


@dataclass
class Life:
    """An app with one connected integration of Ada's."""

    client: httpx.AsyncClient
    sandbox: Sandbox
    embed: KomboEmbed
    integration_id: str
    public_id: str

    async def shown(self) -> dict[str, Any]:
        answer = await self.client.get(f"/kombo/integrations/{self.public_id}", headers=ADA)
        assert answer.status_code == 200
        integration: dict[str, Any] = answer.json()["integration"]
        return integration


@pytest.fixture
def switches() -> dict[str, Any]:
    return {}


@pytest.fixture
async def life(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, switches: dict[str, Any]
) -> AsyncIterator[Life]:
    app, embed = make_host(kombo, **switches)
    async with running(app) as client:
        deliver_webhooks(sandbox, app)
        link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        token = {"activation_token": flow.activation_token}
        done = await client.post("/kombo/completions", headers=ADA, json=token)
        await sandbox.settle()
        yield Life(client, sandbox, embed, flow.integration_id, done.json()["integration"]["id"])


async def test_its_status_is_asked_for_after_the_completion(life: Life) -> None:
    for _ in range(200):
        shown = await life.shown()
        if shown["status"] is not None:
            break
    assert (shown["status"], shown["category"], shown["next_action"]) == ("ACTIVE", "HRIS", "none")


async def test_an_integration_whose_credentials_fail_is_reconnected_and_keeps_its_id(life: Life) -> None:
    await change_state(life.sandbox, life.integration_id, "INVALID")
    assert (await life.shown())["next_action"] == "reconnect"
    path = f"/kombo/integrations/{life.public_id}/relink"
    first = await life.client.post(path, headers=ADA, json={"language": "de"})
    assert first.headers["cache-status"] == "kombo-embed; fwd=uri-miss; stored"
    again = await life.client.post(path, headers=ADA, json={"language": "de"})
    assert again.headers["cache-status"].startswith("kombo-embed; hit")
    assert again.json() == first.json()

    flow = await life.sandbox.complete(first.json()["link"])
    assert flow.integration_id == life.integration_id
    token = {"activation_token": flow.activation_token}
    done = await life.client.post("/kombo/completions", headers=ADA, json=token)
    assert (done.status_code, done.json()["integration"]["id"]) == (200, life.public_id)
    await life.sandbox.settle()
    assert (await life.shown())["next_action"] == "none"
    after = await life.client.post(path, headers=ADA, json={"language": "de"})
    assert after.json()["link"] != first.json()["link"]


async def test_a_setup_link_is_given_where_something_is_left_to_set_up(life: Life) -> None:
    path = f"/kombo/integrations/{life.public_id}/setup-link"
    await order_fault(life.sandbox, "setup-link", "input_invalid")
    nothing = await life.client.post(path, headers=ADA, json={})
    assert (nothing.status_code, nothing.json()["code"]) == (409, "setup_not_available")


async def is_not_there(life: Life, method: str, path: str) -> None:
    before = dict(life.sandbox.calls)
    answers = [
        await life.client.request(method, f"/kombo/integrations/{id_}{path}", headers=who)
        for id_, who in ((life.public_id, OTHER), ("made-up", OTHER), (life.integration_id, ADA))
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert {answer.json()["code"] for answer in answers} == {"integration_not_found"}
    assert len({answer.text for answer in answers}) == 1
    assert dict(life.sandbox.calls) == before


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/relink"), ("POST", "/setup-link")])
async def test_another_organisations_integration_is_not_there(method: str, path: str, life: Life) -> None:
    await is_not_there(life, method, path)


class TestWhereSomethingIsLeftToSetUp:
    @pytest.fixture
    def switches(self) -> dict[str, Any]:
        return {"enable_field_mapping": True}

    async def test_a_setup_link_leads_to_it_and_is_cached_apart_from_the_others(self, life: Life) -> None:
        assert (await life.shown())["next_action"] == "finish_setup"
        path = f"/kombo/integrations/{life.public_id}/setup-link"
        setup = await life.client.post(path, headers=ADA, json={})
        assert setup.headers["cache-control"] == "no-store"
        again = await life.client.post(path, headers=ADA, json={})
        assert again.headers["cache-status"].startswith("kombo-embed; hit")
        links = [
            (await life.client.post(other, headers=ADA, json={})).json()["link"]
            for other in ("/kombo/links", f"/kombo/integrations/{life.public_id}/relink")
        ]
        assert len({setup.json()["link"], *links}) == 3
        await life.sandbox.complete(setup.json()["link"])
        await life.sandbox.settle()
        assert (await life.shown())["next_action"] != "finish_setup"


async def test_disconnecting_is_off_unless_it_is_allowed(life: Life) -> None:
    refused = await life.client.delete(f"/kombo/integrations/{life.public_id}", headers=ADA)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await life.shown())["id"] == life.public_id


class TestWhereItIsAllowed:
    @pytest.fixture
    def switches(self) -> dict[str, Any]:
        return {"allow_disconnect": True}

    async def test_another_organisations_integration_is_not_there(self, life: Life) -> None:
        await is_not_there(life, "DELETE", "")

    async def test_disconnecting_deletes_at_kombo_and_here_and_tells_the_host_once(self, life: Life) -> None:
        heard: list[Event] = []

        @life.embed.on("integration.deleted")
        async def hear(event: Event) -> None:
            heard.append(event)

        path = f"/kombo/integrations/{life.public_id}"
        assert (await life.client.delete(path, headers=ADA)).status_code == 204
        await life.sandbox.settle()
        assert (await life.client.delete(path, headers=ADA)).status_code == 404
        assert (await life.client.get("/kombo/integrations", headers=ADA)).json() == {"integrations": []}
        assert await life.embed.integration(life.integration_id) is None
        await eventually(lambda: len(heard) == 1)
        assert heard[0].integration is not None
        assert heard[0].integration.integration_id == life.integration_id


async def test_a_deletion_in_kombos_dashboard_reaches_us_by_webhook(life: Life) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(life.sandbox.app),
        base_url="http://localhost:8001",
        headers={"Authorization": "Bearer ks_dev_a-made-up-key"},
    ) as dashboard:
        gone = await dashboard.request("DELETE", f"/v1/integrations/{life.integration_id}", json={})
        assert gone.status_code == 200
    await life.sandbox.settle()
    assert (await life.client.get("/kombo/integrations", headers=ADA)).json() == {"integrations": []}


async def test_a_flow_that_fails_is_told_to_the_host_with_kombos_log(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, embed = make_host(kombo)
    heard: list[Event] = []

    @embed.on("flow.failed")
    def hear(event: Event) -> None:
        heard.append(event)

    async with running(app) as client:
        deliver_webhooks(sandbox, app)
        link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        await sandbox.fail(link)
        await sandbox.settle()
        await eventually(lambda: len(heard) == 1)
    assert heard[0].origin_id == "acme"
    assert str(heard[0].data["log_url"]).startswith("http")


async def test_the_tools_of_a_category_say_what_is_connected_and_are_asked_for_once(
    life: Life,
) -> None:
    first = await life.client.get("/kombo/tools", headers=ADA)
    tools = {tool["id"]: tool for tool in first.json()["tools"]}
    assert tools["personio"]["connected"] is True
    assert tools["hibob"] == tools["hibob"] | {"label": "HiBob", "connected": False}
    assert set(tools["hibob"]) == {"id", "label", "logo_url", "connected"}
    again = await life.client.get("/kombo/tools", headers=ADA | {"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    others = (await life.client.get("/kombo/tools?category=hris", headers=OTHER)).json()["tools"]
    assert not any(tool["connected"] for tool in others)
    assert life.sandbox.calls["GET /v1/tools/{category}"] == 1
    wrong = await life.client.get("/kombo/tools?category=PAYROLL", headers=ADA)
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "category")
    assert (await life.client.get("/kombo/tools")).status_code == 401


async def test_only_allowed_tools_are_listed(kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo, allowed_tools="hibob,personio", allowed_categories="HRIS")
    async with running(app) as client:
        tools = (await client.get("/kombo/tools", headers=ADA)).json()["tools"]
        assert sorted(tool["id"] for tool in tools) == ["hibob", "personio"]
        assert (await client.get("/kombo/tools?category=ATS", headers=ADA)).status_code == 422


async def test_a_magic_link_is_minted_for_a_customer_and_recorded_by_webhook(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, embed = make_host(kombo)
    customer = EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")
    async with running(app):
        deliver_webhooks(sandbox, app)
        link = await embed.magic_link(customer, category="ATS", tool="greenhouse", language="fr")
        assert await embed.magic_link(customer) != link
        sandbox.clock.advance(30 * 24 * 3600)
        await sandbox.complete(link)
        await sandbox.settle()
        [found] = await embed.integrations("acme")
    assert (found.tool, found.category) == ("greenhouse", "ATS")
    assert minted(sandbox) == 2


def happening(number: int, type_: str, **data: Any) -> WebhookEvent:
    end_user = {"origin_id": "acme", "creator_email": "ada@acme.example", "organization_name": "Acme"}
    return WebhookEvent(f"event-{number}", type_, {"end_user": end_user, **data})


CREATED = happening(1, "integration-created", id="personio:x", tool="personio", category="HRIS")
DELETED = happening(2, "integration-deleted", id="personio:x", tool="personio", category="HRIS")
STATES = [
    happening(
        3 + minute,
        "integration-state-changed",
        integration_id="personio:x",
        state=state,
        setup_status="COMPLETED",
        updated_at=f"2026-01-01T00:0{minute}:00Z",
    )
    for minute, state in enumerate(["ACTIVE", "INVALID", "ACTIVE", "INACTIVE"])
]
COMPLETED = ReportedIntegration(
    integration_id="personio:x",
    tool="personio",
    origin_id="acme",
    organization_name="Acme",
    email="ada@acme.example",
    setup_status="INCOMPLETE",
)
numbers = itertools.count()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    happenings=st.permutations([CREATED, COMPLETED, *STATES, *STATES[:2], CREATED]),
    deleted=st.booleans(),
)
async def test_whatever_the_order_the_records_end_the_same(
    happenings: list[WebhookEvent | ReportedIntegration], deleted: bool
) -> None:
    # Each example has an environment of its own, which is as good as a new database.
    environment = f"example-{next(numbers)}"
    store = Store("sqlite+aiosqlite:///order.db", environment=environment, clock=ManualClock())
    await store.open()
    for one in [*happenings, *([DELETED] if deleted else [])]:
        if isinstance(one, ReportedIntegration):
            await store.save_completion(one, activation_token="t", origin_id="acme")
        else:
            await store.save_event(one, parse_report(one))
    found = await store.find_integrations("acme")
    ends = [(i.tool, i.category, i.status, i.setup_status, i.origin_id) for i in found]
    assert ends == ([] if deleted else [("personio", "HRIS", "INACTIVE", "COMPLETED", "acme")])
    types = ["integration.connected", "integration.deleted"]
    told = await store.outbox.take(types, limit=10, now=store._now(), lease_seconds=1)  # noqa: SLF001
    assert [one.event.type for one in told] == ["integration.connected"]
    await store.aclose()


@pytest.mark.parametrize("order", list(itertools.permutations([0, 1])))
async def test_deleted_stays_deleted_also_when_that_is_told_first(order: tuple[int, ...]) -> None:
    store = Store("sqlite+aiosqlite:///deleted.db", environment="default", clock=ManualClock())
    await store.open()
    for number in order:
        event = [CREATED, DELETED][number]
        await store.save_event(event, parse_report(event))
    assert await store.find_integrations("acme") == []
    assert await store.save_completion(COMPLETED, activation_token="t", origin_id="acme") is None
    await store.aclose()
