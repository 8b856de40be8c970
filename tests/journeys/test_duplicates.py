"""Connecting the same tool twice: refused if the tool is known before the flow, else reported."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp

from kombo_embed import EndUser, Event, KomboEmbed, LinkOptions
from kombo_embed.errors import AlreadyConnected
from kombo_embed.sandbox import Sandbox
from tests.fakes import HeldTransport
from tests.support import (
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
PERSONIO: dict[str, Any] = {"integration_tool": "personio"}
ACME = EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")


@dataclass
class Host:
    """An app in which Ada's organization has connected Personio."""

    client: httpx.AsyncClient
    sandbox: Sandbox
    embed: KomboEmbed
    events: list[Event] = field(default_factory=list)

    async def request_link(self, who: dict[str, str] = ADA, **choice: Any) -> httpx.Response:
        return await self.client.post("/kombo/links", headers=who, json=choice)

    async def connect(self, who: dict[str, str] = ADA, tool: str = "personio", **choice: Any) -> str:
        """Complete the flow of a new link, as the browser does."""
        link = (await self.request_link(who, fresh=True, **choice)).json()["link"]
        flow = await self.sandbox.complete(link, tool)
        token = {"activation_token": flow.activation_token}
        done = await self.client.post("/kombo/completions", headers=who, json=token)
        assert done.status_code in {200, 201}
        await self.sandbox.settle()
        return flow.integration_id


async def details_are_read(embed: KomboEmbed) -> None:
    """Wait until the app has read Kombo's details of Acme's first integration, in the background."""
    async with asyncio.timeout(30):
        while (await embed.integrations("acme"))[0].status is None:
            pass  # each look is a database call


@pytest.fixture
def settings() -> dict[str, Any]:
    return {}


@pytest.fixture
async def host(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, settings: dict[str, Any]
) -> AsyncIterator[Host]:
    app, embed = make_host(kombo, **settings)
    async with running(app) as client:
        deliver_webhooks(sandbox, app)
        host = Host(client, sandbox, embed)
        embed.on("integration.duplicate")(host.events.append)
        await host.connect()
        await details_are_read(embed)
        yield host


async def test_a_connected_tool_is_refused_with_its_integration_which_can_be_reconnected(host: Host) -> None:
    before = minted(host.sandbox)
    refused = await host.request_link(**PERSONIO)
    assert (refused.status_code, refused.json()["code"]) == (409, "already_connected")
    assert refused.headers["cache-control"] == "no-store"
    offered = refused.json()["integration"]
    listed = await host.client.get(f"/kombo/integrations/{offered['id']}", headers=ADA)
    assert listed.json() == {"integration": offered}
    relink = await host.client.post(f"/kombo/integrations/{offered['id']}/relink", headers=ADA, json={})
    assert relink.status_code == 200
    assert minted(host.sandbox) == before


@pytest.mark.parametrize(
    "choice",
    [{}, {"integration_tool": "hibob"}, {"integration_tool": "greenhouse", "integration_category": "ATS"}],
)
async def test_another_tool_or_no_tool_is_not_a_duplicate(host: Host, choice: dict[str, Any]) -> None:
    assert (await host.request_link(**choice)).status_code == 200


async def test_another_category_or_another_organization_is_not_a_duplicate(host: Host) -> None:
    assert (await host.request_link(**PERSONIO, integration_category="ATS")).status_code == 200
    assert (await host.request_link(OTHER, **PERSONIO)).status_code == 200


async def test_an_integration_that_needs_reconnection_counts_as_connected(host: Host) -> None:
    [integration] = await host.embed.integrations("acme")
    await change_state(host.sandbox, integration.integration_id, "INVALID")
    refused = (await host.request_link(**PERSONIO)).json()
    assert refused["integration"]["next_action"] == "reconnect"


async def test_invalid_fields_are_reported_before_a_connected_tool(host: Host) -> None:
    wrong = await host.request_link(**PERSONIO, integration_category="PAYROLL")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_request")


async def test_a_magic_link_for_a_connected_tool_is_refused_unless_duplicates_are_allowed(host: Host) -> None:
    with pytest.raises(AlreadyConnected) as caught:
        await host.embed.magic_link(ACME, tool="personio")
    assert caught.value.integration.tool == "personio"
    allowed = LinkOptions(duplicates="allow")
    assert (await host.embed.magic_link(ACME, tool="personio", options=allowed)).startswith("http")


class TestDuplicatesAllowed:
    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"duplicates": "allow"}

    async def test_a_second_integration_can_be_connected_and_is_reported(self, host: Host) -> None:
        assert (await host.request_link(**PERSONIO)).status_code == 200
        await host.connect(integration_tool="personio")
        await eventually(lambda: len(host.events) == 1)


class TestOneToolAllowed:
    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"allowed_tools": "personio"}

    async def test_it_is_preset_and_a_second_integration_is_refused(self, host: Host) -> None:
        assert (await host.request_link()).json()["code"] == "already_connected"


async def test_the_host_allows_duplicates_per_request_and_the_cached_link_is_the_same(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    async def subsidiaries(_: HTTPConnection, end_user: EndUser) -> LinkOptions:
        return LinkOptions(duplicates="allow" if end_user.email.startswith("ada") else None)

    app, embed = make_host(kombo, link_options=subsidiaries)
    async with running(app) as client:
        deliver_webhooks(sandbox, app)
        host = Host(client, sandbox, embed)
        await host.connect()
        assert (await host.request_link(**PERSONIO)).status_code == 200
        assert (await host.request_link(person("grace@acme"), **PERSONIO)).status_code == 409
        assert (await host.request_link(**PERSONIO)).headers["cache-status"].startswith("kombo-embed; hit")


async def test_a_duplicate_is_reported_once_with_both_ids_by_browser_and_webhook(host: Host) -> None:
    [first] = await host.embed.integrations("acme")
    second = await host.connect()
    await eventually(lambda: len(host.events) == 1)
    [event] = host.events
    assert event.integration is not None
    assert (event.integration.integration_id, event.origin_id) == (second, "acme")
    assert event.data["integration_ids"] == [first.integration_id, second]
    assert event.data["public_ids"] == [first.public_id, event.integration.public_id]
    await host.connect(OTHER)
    await host.connect(tool="hibob")
    await change_state(host.sandbox, second, "INVALID")
    await host.embed.reconcile()
    assert len(host.events) == 1


async def test_a_duplicate_whose_category_becomes_known_later_is_reported_then(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, embed = make_host(kombo)
    async with running(app) as client:
        host = Host(client, sandbox, embed)
        embed.on("integration.duplicate")(host.events.append)
        # Two open links match the completion, so the category is unknown until Kombo's details are read.
        await host.request_link(integration_category="ATS")
        await host.request_link()
        for _ in range(2):
            await order_fault(sandbox, "integrations/", "html_503", times=3)
            await host.connect()
        assert host.events == []
        await embed.reconcile()
        await eventually(lambda: len(host.events) == 1)


async def change_state_by_webhook(sandbox: Sandbox, app: ASGIApp, integration_id: str) -> None:
    """Change the state at Kombo, and deliver this webhook only."""
    deliver_webhooks(sandbox, app)
    await change_state(sandbox, integration_id, "INVALID")
    sandbox.webhook_url = None


async def complete_the_older_of_two_links(host: Host) -> tuple[dict[str, str], str]:
    """Return the completion's body and Kombo's id; the category of the newer link is recorded first."""
    link = (await host.request_link(fresh=True)).json()["link"]
    assert (await host.request_link(fresh=True, integration_category="ATS")).status_code == 200
    flow = await host.sandbox.complete(link, "personio")
    token = {"activation_token": flow.activation_token}
    assert (await host.client.post("/kombo/completions", headers=ADA, json=token)).status_code == 201
    return token, flow.integration_id


async def test_the_category_in_kombos_details_is_recorded_although_a_webhook_changed_the_state_meanwhile(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    held = HeldTransport(kombo, path="/integrations/", stage="response")
    app, embed = make_host(held)
    async with running(app) as client:
        host = Host(client, sandbox, embed)
        embed.on("integration.duplicate")(host.events.append)
        for _ in range(2):
            held.hold()
            _, integration_id = await complete_the_older_of_two_links(host)
            await held.reached()
            await change_state_by_webhook(sandbox, app, integration_id)
            held.release()
        await eventually(lambda: len(host.events) == 1)
        known = await embed.integrations("acme")
    assert [(one.category, one.status) for one in known] == [("HRIS", "INVALID")] * 2


async def test_a_repeated_completion_reads_the_category_although_a_state_is_known(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, embed = make_host(kombo)
    async with running(app) as client:
        host = Host(client, sandbox, embed)
        embed.on("integration.updated")(host.events.append)
        await order_fault(sandbox, "integrations/", "empty_500")
        token, integration_id = await complete_the_older_of_two_links(host)
        await eventually(lambda: sandbox.calls.get("GET /v1/integrations/{integration_id}") == 1)
        await change_state_by_webhook(sandbox, app, integration_id)
        [known] = await embed.integrations("acme")
        assert (known.category, known.status) == ("ATS", "INVALID")
        assert (await client.post("/kombo/completions", headers=ADA, json=token)).status_code == 200
        await eventually(
            lambda: "HRIS" in [one.integration.category for one in host.events if one.integration]
        )


@pytest.mark.parametrize("wrong", ["sometimes", 1])
async def test_an_unknown_duplicates_option_is_an_identity_error(
    wrong: Any, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo, link_options=lambda *_: LinkOptions(duplicates=wrong))
    async with running(app) as client:
        response = await client.post("/kombo/links", headers=ADA, json={})
    assert (response.status_code, response.json()["code"]) == (500, "identity_error")
