"""The life of an integration after it was connected: states, reconnection, setup, deletion."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from kombo_embed import EndUser, Event, KomboEmbed
from kombo_embed.sandbox import Sandbox
from tests.fakes import FlakyTransport, respond
from tests.support import (
    API_KEY,
    SANDBOX_URL,
    change_state,
    deliver_webhooks,
    eventually,
    make_host,
    minted,
    order_fault,
    person,
    running,
    webhook_request,
)

ADA, OTHER = person("ada@acme"), person("alan@bletchley")


@dataclass
class Life:
    """An app with one integration, connected by Ada."""

    client: httpx.AsyncClient
    sandbox: Sandbox
    embed: KomboEmbed
    integration_id: str
    public_id: str

    async def read(self) -> dict[str, Any]:
        response = await self.client.get(f"/kombo/integrations/{self.public_id}", headers=ADA)
        assert response.status_code == 200
        integration: dict[str, Any] = response.json()["integration"]
        return integration


@pytest.fixture
def settings() -> dict[str, Any]:
    return {}


@pytest.fixture
async def life(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, settings: dict[str, Any]
) -> AsyncIterator[Life]:
    app, embed = make_host(kombo, **settings)
    async with running(app) as client:
        deliver_webhooks(sandbox, app)
        link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        token = {"activation_token": flow.activation_token}
        done = await client.post("/kombo/completions", headers=ADA, json=token)
        await sandbox.settle()
        life = Life(client, sandbox, embed, flow.integration_id, done.json()["integration"]["id"])
        async with asyncio.timeout(30):
            while (await life.read())["status"] is None:
                pass  # each look is a request
        yield life


async def test_its_status_is_read_from_kombo_after_the_completion(life: Life) -> None:
    integration = await life.read()
    read = [integration[name] for name in ("status", "category", "next_action")]
    assert read == ["ACTIVE", "HRIS", "none"]


async def test_an_integration_with_invalid_credentials_is_reconnected_and_keeps_its_id(life: Life) -> None:
    await change_state(life.sandbox, life.integration_id, "INVALID")
    assert (await life.read())["next_action"] == "reconnect"
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
    assert (await life.read())["next_action"] == "none"
    after = await life.client.post(path, headers=ADA, json={"language": "de"})
    assert after.json()["link"] != first.json()["link"]


async def test_without_a_setup_step_a_setup_link_is_not_available(life: Life) -> None:
    path = f"/kombo/integrations/{life.public_id}/setup-link"
    await order_fault(life.sandbox, "setup-link", "input_invalid")
    nothing = await life.client.post(path, headers=ADA, json={})
    assert (nothing.status_code, nothing.json()["code"]) == (409, "setup_not_available")


async def is_not_found(life: Life, method: str, path: str) -> None:
    before = dict(life.sandbox.calls)
    responses = [
        await life.client.request(method, f"/kombo/integrations/{id_}{path}", headers=who)
        for id_, who in ((life.public_id, OTHER), ("made-up", OTHER), (life.integration_id, ADA))
    ]
    assert {response.status_code for response in responses} == {404}
    assert {response.json()["code"] for response in responses} == {"integration_not_found"}
    assert len({response.text for response in responses}) == 1
    assert dict(life.sandbox.calls) == before


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/relink"), ("POST", "/setup-link")])
async def test_another_organizations_integration_is_not_found(method: str, path: str, life: Life) -> None:
    await is_not_found(life, method, path)


class TestSetupIncomplete:
    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"enable_field_mapping": True}

    async def test_a_setup_link_completes_the_setup_and_has_a_cache_key_of_its_own(self, life: Life) -> None:
        assert (await life.read())["next_action"] == "finish_setup"
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
        assert (await life.read())["next_action"] != "finish_setup"


async def test_disconnect_is_forbidden_by_default(life: Life) -> None:
    refused = await life.client.delete(f"/kombo/integrations/{life.public_id}", headers=ADA)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await life.read())["id"] == life.public_id


class TestDisconnectAllowed:
    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"allow_disconnect": True}

    async def test_another_organizations_integration_is_not_found(self, life: Life) -> None:
        await is_not_found(life, "DELETE", "")

    async def test_disconnect_deletes_at_kombo_and_here_and_raises_one_event(self, life: Life) -> None:
        events: list[Event] = []
        life.embed.on("integration.deleted")(events.append)
        path = f"/kombo/integrations/{life.public_id}"
        assert (await life.client.delete(path, headers=ADA)).status_code == 204
        await life.sandbox.settle()
        assert (await life.client.delete(path, headers=ADA)).status_code == 404
        assert (await life.client.get("/kombo/integrations", headers=ADA)).json()["integrations"] == []
        assert await life.embed.integration(life.integration_id) is None
        await eventually(lambda: len(events) == 1)
        assert events[0].integration is not None
        assert events[0].integration.integration_id == life.integration_id


async def test_a_deletion_in_kombos_dashboard_arrives_by_webhook(life: Life) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(life.sandbox.app),
        base_url=SANDBOX_URL,
        headers={"Authorization": f"Bearer {API_KEY}"},
    ) as dashboard:
        gone = await dashboard.request("DELETE", f"/v1/integrations/{life.integration_id}", json={})
        assert gone.status_code == 200
    await life.sandbox.settle()
    assert (await life.client.get("/kombo/integrations", headers=ADA)).json()["integrations"] == []


async def test_the_tools_of_a_category_state_which_are_connected_and_are_read_once(
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


@pytest.mark.parametrize("order", [("created", "deleted"), ("deleted", "created")])
async def test_a_deleted_integration_stays_deleted_even_if_the_deletion_is_reported_first(
    order: tuple[str, str], kombo: httpx.AsyncBaseTransport
) -> None:
    end_user = {"origin_id": "acme", "creator_email": None, "organization_name": "Acme"}
    data = {"id": "personio:x", "tool": "personio", "category": "HRIS", "end_user": end_user}
    reported = {"id": "personio:x", "tool": "personio", "end_user_origin_id": "acme"}
    exchange = respond(json={"status": "success", "data": reported})
    app, embed = make_host(FlakyTransport(kombo, then=exchange, path="integration-by-token"))
    async with running(app) as client:
        for change in order:
            webhook = webhook_request(f"event {change}", f"integration-{change}", data)
            assert (await client.post("/kombo/webhooks", **webhook)).status_code == 204
        assert await embed.integrations("acme") == []
        late = await client.post("/kombo/completions", headers=ADA, json={"activation_token": "t"})
        assert (late.status_code, late.json()["code"]) == (422, "activation_rejected")
        assert await embed.integrations("acme") == []
