from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kombo_embed import KomboEmbed, KomboEmbedMiddleware
from kombo_embed.middleware import with_whole_path
from tests.support import end_user_from_header, make_settings

ADA = {"X-Person": "ada@acme"}


@pytest.mark.parametrize(
    ("path", "root_path", "whole"),
    [
        ("/kombo/links", "/kombo", "/kombo/links"),
        ("/api/kombo/links", "/api/kombo", "/api/kombo/links"),
        ("/kombo/links", "/api/kombo", "/api/kombo/links"),
        ("/kombo/links", "/a/b/kombo", "/a/b/kombo/links"),
        ("/kombo", "/api/kombo", "/api/kombo"),
        ("/links", "", "/links"),
        ("/kombos/links", "/api/kombo", "/kombos/links"),
        ("/links", "/api", "/links"),
    ],
)
def test_a_stripped_prefix_is_put_back_in_front_of_the_path(path: str, root_path: str, whole: str) -> None:
    assert with_whole_path({"path": path, "root_path": root_path})["path"] == whole


def installed(embed: KomboEmbed) -> ASGIApp:
    app = FastAPI()
    embed.install(app)
    return app


def mounted(embed: KomboEmbed) -> ASGIApp:
    return FastAPI(routes=[Mount("/kombo", app=embed.app)])


def with_path(embed: KomboEmbed) -> ASGIApp:
    return KomboEmbedMiddleware(Starlette(), embed=embed, path="/kombo")


@pytest.fixture
async def embed(kombo: httpx.AsyncBaseTransport) -> AsyncIterator[KomboEmbed]:
    embed = KomboEmbed(end_user=end_user_from_header, settings=make_settings(), http_transport=kombo)
    async with embed:
        yield embed


@pytest.mark.parametrize("host", [installed, mounted, with_path])
@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_both_conventions_of_the_root_path_reach_the_routes(
    embed: KomboEmbed, host: Callable[[KomboEmbed], ASGIApp], prefix: str
) -> None:
    transport = httpx.ASGITransport(host(embed), root_path="/api")
    async with httpx.AsyncClient(transport=transport, base_url="http://app.example") as client:
        assert (await client.post(f"{prefix}/kombo/links", headers=ADA, json={})).status_code == 200
        assert (await client.get(f"{prefix}/kombo/health")).json()["status"] == "ok"
        assert (await client.get(f"{prefix}/kombo/integrations/x", headers=ADA)).status_code == 404
        assert (await client.put(f"{prefix}/kombo/links")).status_code == 405
        missing = await client.get(f"{prefix}/kombo/nothing")
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


async def test_the_app_can_be_run_by_a_server(kombo: httpx.AsyncBaseTransport) -> None:
    embed = KomboEmbed(end_user=end_user_from_header, settings=make_settings(), http_transport=kombo)
    async with (
        LifespanManager(embed.app, startup_timeout=30) as manager,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(manager.app), base_url="http://app.example"
        ) as client,
    ):
        assert (await client.post("/links", headers=ADA, json={})).status_code == 200
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(embed.app), base_url="http://a.example"
    ) as late:
        assert (await late.get("/health")).status_code == 503


@pytest.mark.parametrize(
    "path", ["/kombo/links%0A", "/kombo/%0A", "/kombo/a%0Ab", "/kombo%0A", "/kombo/health%0A"]
)
async def test_a_path_with_a_line_feed_below_the_mount_is_our_404(
    kombo: httpx.AsyncBaseTransport, path: str
) -> None:
    async def catch_all(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.url.path)

    app = Starlette(routes=[Route("/{rest:path}", catch_all)])
    KomboEmbed(end_user=end_user_from_header, settings=make_settings(), http_transport=kombo).install(app)
    async with (
        LifespanManager(app, startup_timeout=30) as manager,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(manager.app), base_url="http://app.example"
        ) as client,
    ):
        response = await client.get(path)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_middlewares_find_a_name_of_every_endpoint(kombo: httpx.AsyncBaseTransport) -> None:
    names: list[Any] = []

    class Naming:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self.app(scope, receive, send)
            if scope["type"] == "http":
                names.append(scope["endpoint"].__name__)

    app = Starlette()
    app.add_middleware(Naming)
    KomboEmbed(end_user=end_user_from_header, settings=make_settings(), http_transport=kombo).install(app)
    async with (
        LifespanManager(app, startup_timeout=30) as manager,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(manager.app), base_url="http://app.example"
        ) as client,
    ):
        for path in ("/kombo", "/kombo/", "/kombo/health", "/kombo/integrations/x", "/kombo/nothing"):
            await client.get(path, headers=ADA)
        await client.put("/kombo/links")
    assert len(names) == 6
    assert all(names)
