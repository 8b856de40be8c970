"""What a host supplies: callables, settings and a link cache of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from kombo_embed import EndUser, KomboEmbed, LinkOptions
from kombo_embed.clock import SystemClock
from kombo_embed.link_cache.memory import MemoryLinkCache
from tests.fakes import OwnLinks
from tests.support import end_user_from_header, make_host, make_settings, person, running

ADA = person("ada@acme")


async def test_settings_from_a_callable_decide_the_mount_path(kombo: httpx.AsyncBaseTransport) -> None:
    app = Starlette()
    KomboEmbed(
        end_user=end_user_from_header,
        settings=lambda: make_settings(mount_path="/later"),
        http_transport=kombo,
    ).install(app)
    async with running(app) as client:
        assert (await client.get("/later/health")).status_code == 200


@pytest.mark.parametrize(
    ("end_user", "link_options"),
    [
        (lambda _: EndUser(email="a@b.example", organization_name="\ud800", origin_id="x"), None),
        (end_user_from_header, lambda *_: LinkOptions(scope_config_id=["x"])),  # type: ignore[arg-type]
        (end_user_from_header, lambda *_: LinkOptions(enable_filtering="yes")),  # type: ignore[arg-type]
    ],
)
async def test_values_of_the_host_that_cannot_be_sent_to_kombo_are_an_identity_error(
    end_user: Any, link_options: Any, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo, end_user=end_user, link_options=link_options)
    async with running(app) as client:
        response = await client.post("/kombo/links", headers=ADA, json={})
    assert (response.status_code, response.json()["code"]) == (500, "identity_error")


async def test_an_http_exception_of_the_host_can_change_neither_content_type_nor_turn_into_a_success(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    def refuse(connection: Any) -> EndUser | None:
        status = int(connection.headers["x-status"])
        raise HTTPException(status, "no", headers={"Content-Type": "text/html", "X-Mine": "kept"})

    app, _ = make_host(kombo, end_user=refuse)
    async with running(app) as client:
        response = await client.post("/kombo/links", headers={"X-Status": "403"}, json={})
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["x-mine"] == "kept"
        empty = await client.post("/kombo/links", headers={"X-Status": "204"}, json={})
        assert (empty.status_code, empty.json()["code"]) == (500, "identity_error")


async def test_method_not_allowed_lists_all_methods_of_the_path(kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        response = await client.put("/kombo/integrations/x")
    assert (response.status_code, response.headers["allow"]) == (405, "DELETE, GET, HEAD")


async def test_a_link_cache_of_the_host_is_used_even_if_it_is_falsy(kombo: httpx.AsyncBaseTransport) -> None:
    class EmptyCache:
        puts = 0
        link = None

        def __len__(self) -> int:
            return 0

        async def get(self, key: object) -> None:
            del key

        @asynccontextmanager
        async def lease(self, key: object, *, fresh: bool) -> AsyncIterator[EmptyCache]:
            del key, fresh
            yield self

        async def put(self, link: object) -> bool:
            del link
            self.puts += 1
            return True

        async def invalidate(self, environment: str, invalidation: object) -> None:
            del environment, invalidation

    cache = EmptyCache()
    app = Starlette()
    KomboEmbed(
        end_user=end_user_from_header, settings=make_settings(), http_transport=kombo, link_cache=cache
    ).install(app)
    async with running(app) as client:
        await client.post("/kombo/links", headers=ADA, json={})
    assert cache.puts == 1


@pytest.mark.parametrize("other", [{"api_key": "another-key"}, {"api_url": "http://localhost:8001/other/v1"}])
async def test_two_accounts_that_share_a_link_cache_share_no_links(other: dict[str, str]) -> None:
    cache = MemoryLinkCache(size=10, lifetime_seconds=3600, clock=SystemClock())
    links = []
    for name, settings in (("ours", {}), ("theirs", other)):
        app = Starlette()
        KomboEmbed(
            end_user=end_user_from_header,
            settings=make_settings(**settings),
            http_transport=OwnLinks(name),
            link_cache=cache,
        ).install(app)
        async with running(app) as client:
            links.append((await client.post("/kombo/links", headers=ADA, json={})).json()["link"])
    assert links == ["https://ours.example/1", "https://theirs.example/1"]
