"""The same tool twice: prevented where the tool is known before the flow, told where it is not."""

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
class Shop:
    """An app in which Ada's organisation has connected Personio."""

    client: httpx.AsyncClient
    sandbox: Sandbox
    embed: KomboEmbed
    heard: list[Event] = field(default_factory=list)

    async def ask(self, who: dict[str, str] = ADA, **choice: Any) -> httpx.Response:
        return await self.client.post("/kombo/links", headers=who, json=choice)

    async def connect(self, who: dict[str, str] = ADA, tool: str = "personio", **choice: Any) -> str:
        """Walk through the flow of a link without a preset tool, as the browser does."""
        link = (await self.ask(who, fresh=True, **choice)).json()["link"]
        flow = await self.sandbox.complete(link, tool)
        token = {"activation_token": flow.activation_token}
        done = await self.client.post("/kombo/completions", headers=who, json=token)
        assert done.status_code in {200, 201}
        await self.sandbox.settle()
        return flow.integration_id


@pytest.fixture
def switches() -> dict[str, Any]:
    return {}


@pytest.fixture
async def shop(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, switches: dict[str, Any]
) -> AsyncIterator[Shop]:
    app, embed = make_host(kombo, **switches)
    async with running(app) as client:
        deliver_webhooks(sandbox, app)
        shop = Shop(client, sandbox, embed)
        embed.on("integration.duplicate")(shop.heard.append)
        await shop.connect()
        async with asyncio.timeout(30):  # the details, which are asked for after the completion
            while (await embed.integrations("acme"))[0].status is None:  # noqa: ASYNC110 - beyond a task of the app's
                await asyncio.sleep(0.01)
        yield shop


async def test_a_tool_that_is_connected_is_offered_for_reconnection_instead(shop: Shop) -> None:
    before = minted(shop.sandbox)
    refused = await shop.ask(**PERSONIO)
    assert (refused.status_code, refused.json()["code"]) == (409, "already_connected")
    assert refused.headers["cache-control"] == "no-store"
    offered = refused.json()["integration"]
    shown = await shop.client.get(f"/kombo/integrations/{offered['id']}", headers=ADA)
    assert shown.json() == {"integration": offered}
    relink = await shop.client.post(f"/kombo/integrations/{offered['id']}/relink", headers=ADA, json={})
    assert relink.status_code == 200
    assert minted(shop.sandbox) == before


@pytest.mark.parametrize(
    "choice",
    [{}, {"integration_tool": "hibob"}, {"integration_tool": "greenhouse", "integration_category": "ATS"}],
)
async def test_another_tool_or_none_is_no_duplicate(shop: Shop, choice: dict[str, Any]) -> None:
    assert (await shop.ask(**choice)).status_code == 200


async def test_another_category_or_another_organisation_is_no_duplicate(shop: Shop) -> None:
    assert (await shop.ask(**PERSONIO, integration_category="ATS")).status_code == 200
    assert (await shop.ask(OTHER, **PERSONIO)).status_code == 200


async def test_one_that_waits_for_reconnection_is_connected_all_the_same(shop: Shop) -> None:
    [integration] = await shop.embed.integrations("acme")
    await change_state(shop.sandbox, integration.integration_id, "INVALID")
    refused = (await shop.ask(**PERSONIO)).json()
    assert refused["integration"]["next_action"] == "reconnect"


async def test_what_is_not_allowed_is_told_before_what_is_connected(shop: Shop) -> None:
    wrong = await shop.ask(**PERSONIO, integration_category="PAYROLL")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_request")


async def test_a_magic_link_respects_it_too_unless_it_is_told_otherwise(shop: Shop) -> None:
    with pytest.raises(AlreadyConnected) as caught:
        await shop.embed.magic_link(ACME, tool="personio")
    assert caught.value.integration.tool == "personio"
    allowed = LinkOptions(duplicates="allow")
    assert (await shop.embed.magic_link(ACME, tool="personio", options=allowed)).startswith("http")


class TestWhereDuplicatesAreAllowed:
    @pytest.fixture
    def switches(self) -> dict[str, Any]:
        return {"duplicates": "allow"}

    async def test_a_second_one_can_be_connected_and_is_told(self, shop: Shop) -> None:
        assert (await shop.ask(**PERSONIO)).status_code == 200
        await shop.connect(integration_tool="personio")
        await eventually(lambda: len(shop.heard) == 1)


class TestWhereOneToolIsAllowed:
    @pytest.fixture
    def switches(self) -> dict[str, Any]:
        return {"allowed_tools": "personio"}

    async def test_it_is_preset_and_so_a_second_one_is_refused(self, shop: Shop) -> None:
        assert (await shop.ask()).json()["code"] == "already_connected"


async def test_the_host_decides_per_request_and_the_link_is_the_same(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    async def subsidiaries(_: HTTPConnection, end_user: EndUser) -> LinkOptions:
        return LinkOptions(duplicates="allow" if end_user.email.startswith("ada") else None)

    app, embed = make_host(kombo, link_options=subsidiaries)
    async with running(app) as client:
        deliver_webhooks(sandbox, app)
        shop = Shop(client, sandbox, embed)
        await shop.connect()
        assert (await shop.ask(**PERSONIO)).status_code == 200
        assert (await shop.ask(person("grace@acme"), **PERSONIO)).status_code == 409
        # Whether it is allowed is no part of the link: the cached one does.
        assert (await shop.ask(**PERSONIO)).headers["cache-status"].startswith("kombo-embed; hit")


async def test_the_second_one_is_told_once_with_both_ids_whatever_the_channel(shop: Shop) -> None:
    [first] = await shop.embed.integrations("acme")
    second = await shop.connect()
    await eventually(lambda: len(shop.heard) == 1)
    [event] = shop.heard
    assert event.integration is not None
    assert (event.integration.integration_id, event.origin_id) == (second, "acme")
    assert event.data["integration_ids"] == [first.integration_id, second]
    assert event.data["public_ids"] == [first.public_id, event.integration.public_id]
    await shop.connect(OTHER)
    await shop.connect(tool="hibob")
    await change_state(shop.sandbox, second, "INVALID")
    await shop.embed.reconcile()
    assert len(shop.heard) == 1


async def test_a_second_one_whose_category_is_known_only_later_is_told_then(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, embed = make_host(kombo)
    async with running(app) as client:
        shop = Shop(client, sandbox, embed)
        embed.on("integration.duplicate")(shop.heard.append)
        # Two links that fit are under way: which of them it was, Kombo has to say, and does not yet.
        await shop.ask(integration_category="ATS")
        await shop.ask()
        for _ in range(2):
            await order_fault(sandbox, "integrations/", "html_503", times=3)
            await shop.connect()
        assert shop.heard == []
        await embed.reconcile()
        await eventually(lambda: len(shop.heard) == 1)


class ToldWhileAsked(httpx.AsyncBaseTransport):
    """Kombo tells by webhook that an integration's state changed, while its answer about it is on its way."""

    def __init__(self, kombo: httpx.AsyncBaseTransport, sandbox: Sandbox) -> None:
        self._kombo = kombo
        self._sandbox = sandbox
        self.app: ASGIApp | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._kombo.handle_async_request(request)
        if "/integrations/" in request.url.path and self.app is not None:
            await change_state_by_webhook(self._sandbox, self.app, request.url.path.rpartition("/")[2])
        return answer


async def change_state_by_webhook(sandbox: Sandbox, app: ASGIApp, integration_id: str) -> None:
    """The only webhook that arrives."""
    deliver_webhooks(sandbox, app)
    await change_state(sandbox, integration_id, "INVALID")
    sandbox.webhook_url = None


async def guess_wrong(shop: Shop) -> tuple[dict[str, str], str]:
    """Complete the older of two links that fit; the completion's body, and Kombo's id."""
    link = (await shop.ask(fresh=True)).json()["link"]
    assert (await shop.ask(fresh=True, integration_category="ATS")).status_code == 200
    flow = await shop.sandbox.complete(link, "personio")
    token = {"activation_token": flow.activation_token}
    assert (await shop.client.post("/kombo/completions", headers=ADA, json=token)).status_code == 201
    return token, flow.integration_id


async def test_kombos_category_counts_although_a_state_was_told_meanwhile(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    transport = ToldWhileAsked(kombo, sandbox)
    app, embed = make_host(transport)
    async with running(app) as client:
        shop = Shop(client, sandbox, embed)
        embed.on("integration.duplicate")(shop.heard.append)
        transport.app = app
        for _ in range(2):
            await guess_wrong(shop)
        await eventually(lambda: len(shop.heard) == 1)
        known = await embed.integrations("acme")
    assert [(one.category, one.status) for one in known] == [("HRIS", "INVALID")] * 2


async def test_a_repeated_completion_asks_for_the_category_although_a_state_is_known(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, embed = make_host(kombo)
    async with running(app) as client:
        shop = Shop(client, sandbox, embed)
        embed.on("integration.updated")(shop.heard.append)
        await order_fault(sandbox, "integrations/", "empty_500")
        token, integration_id = await guess_wrong(shop)
        await eventually(lambda: sandbox.calls.get("GET /v1/integrations/{integration_id}") == 1)
        await change_state_by_webhook(sandbox, app, integration_id)
        [known] = await embed.integrations("acme")
        assert (known.category, known.status) == ("ATS", "INVALID")
        assert (await client.post("/kombo/completions", headers=ADA, json=token)).status_code == 200
        await eventually(
            lambda: "HRIS" in [one.integration.category for one in shop.heard if one.integration]
        )


@pytest.mark.parametrize("wrong", ["sometimes", 1])
async def test_an_option_that_is_none_is_the_hosts_bug(wrong: Any, kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo, link_options=lambda *_: LinkOptions(duplicates=wrong))
    async with running(app) as client:
        answer = await client.post("/kombo/links", headers=ADA, json={})
    assert (answer.status_code, answer.json()["code"]) == (500, "identity_error")
