"""Erasing a customer of a running app, whose integrations Kombo still knows."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import redis.asyncio as redis

from kombo_embed import EndUser, KomboEmbed
from kombo_embed.sandbox import Sandbox
from tests.redis_server import RedisServer
from tests.support import (
    DATABASE,
    deliver_webhooks,
    make_host,
    minted,
    order_fault,
    person,
    running,
    webhook_request,
)

ADA = EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")
ACME, BOLT = person("ada@acme"), person("bob@bolt")


@dataclass
class Host:
    """A running app, and the sandbox that sends it webhooks."""

    embed: KomboEmbed
    client: httpx.AsyncClient
    sandbox: Sandbox

    async def link(self, who: dict[str, str]) -> str:
        response = await self.client.post("/kombo/links", headers=who, json={})
        link: str = response.json()["link"]
        return link

    async def connect(self, who: dict[str, str], tool: str = "personio") -> str:
        """Connect a tool; return Kombo's id of the integration."""
        flow = await self.sandbox.complete(await self.link(who), tool)
        token = {"activation_token": flow.activation_token}
        response = await self.client.post("/kombo/completions", headers=who, json=token)
        assert response.status_code in {200, 201}
        await self.sandbox.settle()
        return flow.integration_id

    async def listed(self, who: dict[str, str]) -> list[dict[str, Any]]:
        response = await self.client.get("/kombo/integrations", headers=who)
        integrations: list[dict[str, Any]] = response.json()["integrations"]
        return integrations

    def known_at_kombo(self) -> set[str]:
        state: Any = self.sandbox.report()
        return {one["id"] for one in state["integrations"]}


@pytest.fixture
async def host(sandbox: Sandbox, kombo: httpx.AsyncBaseTransport) -> AsyncIterator[Host]:
    app, embed = make_host(kombo)
    deliver_webhooks(sandbox, app)
    async with running(app) as client:
        yield Host(embed, client, sandbox)


def rows_with(*needles: str) -> list[str]:
    """Return the rows of the database that have one of these texts in any column."""
    with closing(sqlite3.connect(DATABASE)) as database:
        tables = database.execute("select name from sqlite_master where type = 'table'").fetchall()
        rows = [repr(row) for (name,) in tables for row in database.execute(f'select * from "{name}"')]  # noqa: S608
    return [row for row in rows if any(needle in row for needle in needles)]


async def test_an_erased_customer_is_gone_while_another_one_notices_nothing(host: Host) -> None:
    erased, kept = await host.connect(ACME), await host.connect(BOLT)
    first = await host.link(ACME)
    await host.embed.magic_link(ADA, actor="Grace of support")
    assert rows_with("acme", "Acme")
    expected = await host.embed.erase("acme", dry_run=True)
    erasure = await host.embed.erase("acme")
    assert rows_with("acme", "Acme", "Grace") == []
    assert expected.dry_run
    assert expected.rows.items() <= erasure.rows.items()
    assert erasure.rows["kombo_embed_integrations"] == 1
    assert await host.listed(ACME) == []
    assert [one["tool"] for one in await host.listed(BOLT)] == ["personio"]
    assert await host.link(ACME) != first, "the cached link was invalidated"
    # Kombo still has the integration, and nothing it reports brings the customer back.
    assert {erased, kept} <= host.known_at_kombo()
    reconciled = await host.embed.reconcile()
    assert (reconciled.checked, reconciled.failed) == (1, {})
    assert await host.listed(ACME) == []


async def read(reader: Any, name: bytes) -> object:
    """Return a value of Redis, whatever its type."""
    match await reader.type(name):
        case b"string":
            return await reader.get(name)
        case b"hash":
            return await reader.hgetall(name)
    return await reader.lrange(name, 0, -1)


@pytest.mark.integration
async def test_redis_never_names_a_customer_and_gives_out_no_link_after_the_erasure(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    app, embed = make_host(kombo, redis_url=redis_server.url)
    deliver_webhooks(sandbox, app)
    async with running(app) as client, redis.from_url(redis_server.url) as reader:
        host = Host(embed, client, sandbox)
        await host.connect(ACME)
        link = await host.link(ACME)
        for _ in range(2):
            names = [name async for name in reader.scan_iter()]
            assert len(names) >= 4
            texts = [f"{name!r} {await read(reader, name)}" for name in names]
            assert not re.search("acme|ada@", "\n".join(texts), re.IGNORECASE)
            await embed.erase("acme")
        assert await host.link(ACME) != link


async def test_integrations_are_deleted_at_kombo_and_failures_are_repeated(host: Host) -> None:
    one, two = await host.connect(ACME), await host.connect(ACME, "hibob")
    await order_fault(host.sandbox, one, "unauthorized")
    erasure = await host.embed.erase("acme", at_kombo=True)
    assert list(erasure.failed_at_kombo) == [one]
    assert erasure.deleted_at_kombo == 1
    assert rows_with("acme", "Acme") == []
    assert one in host.known_at_kombo()
    again = await host.embed.erase("acme", at_kombo=True)
    assert (again.failed_at_kombo, again.deleted_at_kombo) == ({}, 2)
    assert not {one, two} & host.known_at_kombo()
    await host.sandbox.settle()
    assert rows_with("acme", "Acme") == []


async def test_the_customers_own_completion_starts_anew(host: Host) -> None:
    await host.connect(ACME)
    await host.embed.erase("acme")
    new = await host.connect(ACME, "hibob")
    [listed] = await host.listed(ACME)
    assert listed["tool"] == "hibob"
    assert await host.embed.integration(new) is not None


async def test_what_is_connected_through_a_magic_link_after_the_erasure_is_recorded(host: Host) -> None:
    await host.connect(ACME)
    await host.embed.erase("acme")
    link = await host.embed.magic_link(ADA)
    flow = await host.sandbox.complete(link, "hibob")
    await host.sandbox.settle()
    assert await host.embed.integration(flow.integration_id) is not None


async def test_what_kombo_created_before_the_erasure_is_not_recorded_by_a_late_webhook(host: Host) -> None:
    url, host.sandbox.webhook_url = host.sandbox.webhook_url, None
    link = await host.link(ACME)
    flow = await host.sandbox.complete(link, "hibob")
    host.sandbox.webhook_url = url
    await host.embed.erase("acme")
    end_user = {"origin_id": "acme", "creator_email": "ada@acme.example", "organization_name": "Acme"}
    data = {"id": flow.integration_id, "tool": "hibob", "category": "HRIS", "end_user": end_user}
    for number in range(2):
        late = webhook_request(f"late {number}", "integration-created", data)
        assert (await host.client.post("/kombo/webhooks", **late)).status_code == 204
    assert await host.embed.integration(flow.integration_id) is None
    assert rows_with("acme", "Acme") == []


async def test_a_webhook_that_needs_kombos_answer_is_sent_again_while_kombo_is_down(host: Host) -> None:
    await host.embed.erase("acme")
    url, host.sandbox.webhook_url = host.sandbox.webhook_url, None
    flow = await host.sandbox.complete(await host.link(ACME), "hibob")
    host.sandbox.webhook_url = url
    data = {"id": flow.integration_id, "tool": "hibob", "end_user": {"origin_id": "acme"}}
    created = webhook_request("created", "integration-created", data)
    await order_fault(host.sandbox, "/integrations/", "text_502", times=1)  # one attempt for each webhook
    response = await host.client.post("/kombo/webhooks", **created)
    assert response.status_code == 503
    assert await host.embed.integration(flow.integration_id) is None
    assert (await host.client.post("/kombo/webhooks", **created)).status_code == 204
    assert await host.embed.integration(flow.integration_id) is not None


@pytest.mark.parametrize("origin_id", ["", "x" * 600, "nul\x00", "unknown"])
async def test_an_unknown_customer_has_nothing_to_erase(host: Host, origin_id: str) -> None:
    await host.connect(ACME)
    erasure = await host.embed.erase(origin_id)
    assert erasure.rows.keys() <= {"kombo_embed_dropped_links"}
    assert len(await host.listed(ACME)) == 1


async def test_two_erasures_at_once_remove_everything_once(host: Host) -> None:
    await host.connect(ACME)
    erasures = await asyncio.gather(*(host.embed.erase("acme") for _ in range(2)))
    # The read of its details, which runs meanwhile, may have removed it.
    assert sum(one.rows.get("kombo_embed_integrations", 0) for one in erasures) <= 1
    assert rows_with("acme", "Acme") == []
    assert minted(host.sandbox) == 1
