"""Polls of an unchanged list are answered from memory, and every change is seen."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from kombo_embed import KomboEmbed
from kombo_embed.core.list_tags import MAX_AGE_SECONDS, ORIGIN_IDS, QUERIES_PER_ORIGIN_ID, ListTags
from kombo_embed.integration import IntegrationQuery
from kombo_embed.link_cache.invalidation import CURRENT_SECONDS, InvalidationPoller
from kombo_embed.link_cache.memory import MemoryLinkCache
from kombo_embed.sandbox import Sandbox
from kombo_embed.store.store import Store
from tests.store.samples import complete, opened_store
from tests.support import (
    DATABASE,
    SQLITE_URL,
    ManualClock,
    make_host,
    person,
    recorded_statements,
    running,
    webhook_request,
)

ADA, OTHER = person("ada@acme"), person("alan@bletchley")
LIST = "/kombo/integrations"
ALL = IntegrationQuery(100)


@dataclass
class Page:
    """A page in Ada's browser that polls a worker."""

    client: httpx.AsyncClient
    embed: KomboEmbed
    etag: str = ""

    async def poll(self, who: dict[str, str] = ADA, query: str = "") -> int:
        response = await self.client.get(f"{LIST}{query}", headers=who | {"If-None-Match": self.etag})
        assert response.status_code in {200, 304}, response.text
        self.etag = response.headers["etag"]
        return response.status_code

    async def report(self, event_id: str, event_type: str = "integration-created", **data: Any) -> None:
        request = webhook_request(event_id, event_type, data)
        assert (await self.client.post("/kombo/webhooks", **request)).status_code == 204

    async def connect(self, name: str, origin_id: str = "acme") -> None:
        await self.report(name, id=f"{name}:1", tool=name, end_user={"origin_id": origin_id})


def of_integrations(statements: list[str]) -> list[str]:
    """Return the statements that read integrations."""
    return [one for one in statements if one.startswith("SELECT") and "kombo_embed_integrations" in one]


@asynccontextmanager
async def page(kombo: httpx.AsyncBaseTransport, **host: Any) -> AsyncIterator[Page]:
    app, embed = make_host(kombo, **{"clock": ManualClock()} | host)  # however long the machine stops
    async with running(app) as client:
        yield Page(client, embed)


@pytest.fixture
async def browser(kombo: httpx.AsyncBaseTransport) -> AsyncIterator[Page]:
    async with page(kombo) as opened:
        await opened.connect("personio")
        assert await opened.poll() == 200
        yield opened


async def seen(browser: Page) -> None:
    """Wait until a poll brings a new list."""
    async with asyncio.timeout(20):
        while await browser.poll() == 304:  # noqa: ASYNC110 - only a request observes it
            await asyncio.sleep(0.05)


async def test_a_poll_of_an_unchanged_list_reads_no_integration(browser: Page) -> None:
    assert await browser.poll() == 304
    with recorded_statements() as executed:
        for _ in range(10):
            assert await browser.poll() == 304
    assert of_integrations(executed) == []


async def test_another_page_of_the_list_or_another_tag_is_read(browser: Page) -> None:
    with recorded_statements() as executed:
        assert await browser.poll(query="?limit=1") == 304  # equal, but read
        assert await browser.poll(query="?next_action=reconnect") == 200
        assert await browser.poll() == 200
    assert len(of_integrations(executed)) == 3


async def test_an_own_change_is_seen_by_the_next_poll(browser: Page) -> None:
    await browser.connect("hibob")
    assert await browser.poll() == 200
    await browser.report("e1", "integration-state-changed", integration_id="hibob:1", state="INVALID")
    assert await browser.poll() == 200
    await browser.report("e2", "integration-deleted", id="hibob:1", tool="hibob")
    assert await browser.poll() == 200
    assert await browser.poll() == 304


async def test_a_change_of_another_organization_leaves_the_tag(browser: Page) -> None:
    assert await browser.poll() == 304
    with recorded_statements() as executed:
        await browser.connect("theirs", "bletchley")
        executed.clear()
        assert await browser.poll() == 304
    assert of_integrations(executed) == []
    assert await Page(browser.client, browser.embed).poll(OTHER) == 200


async def test_every_kind_of_change_by_another_worker_is_seen(
    browser: Page, kombo: httpx.AsyncBaseTransport, sandbox: Sandbox
) -> None:
    del sandbox
    async with page(kombo) as other:
        await other.connect("hibob")
        await seen(browser)
        await other.report("e1", "integration-state-changed", integration_id="hibob:1", state="INVALID")
        await seen(browser)
        await other.report("e2", "integration-state-changed", integration_id="hibob:1", state="ACTIVE")
        await seen(browser)
        await other.report("e3", "integration-deleted", id="hibob:1", tool="hibob")
        await seen(browser)
        assert await other.poll() == 200
        assert other.etag == browser.etag


@asynccontextmanager
async def list_tags(clock: ManualClock) -> AsyncIterator[tuple[ListTags, Store, InvalidationPoller]]:
    async with opened_store(SQLITE_URL, clock=clock) as store:
        cache = MemoryLinkCache(size=10, lifetime_seconds=3600, clock=clock)
        poller = InvalidationPoller(
            store.invalidations, cache, environment="default", lifetime_seconds=3600, clock=clock
        )
        store.apply_invalidations_by(poller.apply)
        yield ListTags(poller, clock=clock), store, poller


async def test_a_list_that_changes_while_it_is_read_is_not_remembered() -> None:
    async with list_tags(ManualClock()) as (tags, store, _):
        remember = tags.before_read("acme", ALL)
        await complete(store)
        remember('"old"')
        assert tags.find("acme", ALL) is None
        tags.before_read("acme", ALL)('"new"')
        assert tags.find("acme", ALL) == '"new"'


async def test_the_tags_are_bounded_and_end_after_a_minute() -> None:
    clock = ManualClock()
    async with list_tags(clock) as (tags, _, poller):
        for number in range(QUERIES_PER_ORIGIN_ID + 1):
            tags.before_read("acme", IntegrationQuery(number))('"tag"')
        assert tags.find("acme", IntegrationQuery(0)) is None
        assert tags.find("acme", IntegrationQuery(QUERIES_PER_ORIGIN_ID)) == '"tag"'
        for number in range(ORIGIN_IDS):
            tags.before_read(f"other-{number}", ALL)('"tag"')
        assert tags.find("acme", IntegrationQuery(QUERIES_PER_ORIGIN_ID)) is None
        assert tags.find(f"other-{number}", ALL) == '"tag"'
        clock.advance(MAX_AGE_SECONDS - 1)
        await poller.poll()
        assert tags.find(f"other-{number}", ALL) == '"tag"'
        clock.advance(1)
        assert tags.find(f"other-{number}", ALL) is None


async def test_while_the_database_cannot_be_polled_no_list_is_called_unchanged(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    clock = ManualClock()
    async with page(kombo, clock=clock) as browser:
        await browser.connect("personio")
        assert await browser.poll() == 200
        assert await browser.poll() == 304
        DATABASE.rename("moved.db")
        assert await browser.poll() == 304  # known to be current two seconds ago
        clock.advance(CURRENT_SECONDS + 0.1)
        response = await browser.client.get(LIST, headers=ADA | {"If-None-Match": browser.etag})
        assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")
        os.rename("moved.db", DATABASE)  # noqa: PTH104
        assert await browser.poll() == 304


async def test_the_tag_is_the_same_after_a_restart(browser: Page, kombo: httpx.AsyncBaseTransport) -> None:
    async with page(kombo) as restarted:
        restarted.etag = browser.etag
        assert await restarted.poll() == 304
