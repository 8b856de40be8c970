"""`KomboEmbedMiddleware` and ``install``: lifespan, routing, and errors at the start."""

from __future__ import annotations

import asyncio
import sqlite3
import warnings
from contextlib import closing
from typing import Any

import httpx
import pytest
from asgi_lifespan import LifespanManager
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from kombo_embed import EndUser, KomboEmbed, KomboEmbedMiddleware
from kombo_embed.errors import ConfigurationError, StoreUnavailable
from kombo_embed.sandbox import Sandbox
from tests.support import LogRecorder, end_user_from_header, make_settings, minted, person, running

ADA = person("ada@acme")


def make_embed(kombo: httpx.AsyncBaseTransport, **settings: Any) -> KomboEmbed:
    return KomboEmbed(end_user=end_user_from_header, settings=make_settings(**settings), http_transport=kombo)


async def asgi_app_without_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Like an ASGI framework without lifespan support, such as Django."""
    if scope["type"] != "http":
        raise ValueError("unsupported")
    await PlainTextResponse("the host's")(scope, receive, send)


def in_process(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app.example")


@pytest.mark.parametrize("path", ["/kombo", "/deep/er", "/kombo/"])
async def test_with_a_path_it_serves_the_routes_in_front_of_any_asgi_app(
    path: str, kombo: httpx.AsyncBaseTransport
) -> None:
    embed = make_embed(kombo)
    app = KomboEmbedMiddleware(asgi_app_without_lifespan, embed=embed, path=path)
    async with embed, in_process(app) as client:
        base = path.rstrip("/")
        assert (await client.post(f"{base}/links", headers=ADA, json={})).status_code == 200
        assert (await client.get(f"{base}/links")).json()["code"] == "method_not_allowed"
        assert (await client.get(f"{base}/nowhere")).json()["code"] == "not_found"
        for other in ("/", f"{base}-like/links", "/other"):
            assert (await client.get(other)).text == "the host's"


async def test_without_lifespan_events_the_first_request_opens_the_embed(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    embed = make_embed(kombo)
    app = KomboEmbedMiddleware(asgi_app_without_lifespan, embed=embed, path="/kombo")
    async with in_process(app) as client:
        for _ in range(3):
            assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 200
    await embed.close()
    assert minted(sandbox) == 1


async def ignores_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await PlainTextResponse("the host's")(scope, receive, send)


@pytest.mark.parametrize("host", [asgi_app_without_lifespan, ignores_lifespan])
async def test_a_host_without_lifespan_gets_one_that_opens_and_closes_the_embed(
    host: Any, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    embed = make_embed(kombo)
    app = KomboEmbedMiddleware(host, embed=embed, path="/kombo")
    sandbox.webhook_url, sandbox.webhook_transport = (
        "http://app.example/kombo/webhooks",
        httpx.ASGITransport(app),
    )
    connected = asyncio.Event()
    embed.on("integration.connected")(lambda _: connected.set())
    async with running(app) as client:
        # The dispatcher runs before the first request of a browser.
        link = await embed.magic_link(EndUser("ada@acme.example", "Acme", "acme"))
        await sandbox.complete(link)
        async with asyncio.timeout(30):
            await connected.wait()
        assert (await client.get("/")).text == "the host's"
    late = await in_process(app).post("/kombo/links", headers=ADA, json={})
    assert (late.status_code, late.json()["code"]) == (503, "store_unavailable")


async def test_requests_after_shutdown_are_rejected_and_open_nothing(
    kombo: httpx.AsyncBaseTransport, log: LogRecorder
) -> None:
    embed = make_embed(kombo)
    app = Starlette()
    embed.install(app)
    async with running(app) as client:
        assert (await client.get("/kombo/health")).status_code == 200
    late = await in_process(app).post("/kombo/links", headers=ADA, json={})
    assert (late.status_code, late.json()["code"]) == (503, "store_unavailable")
    assert late.headers["retry-after"] == "5"
    with pytest.raises(StoreUnavailable):
        await embed.integrations("acme")
    assert "start.failed" not in log.text()
    async with running(app) as client:
        assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 200


async def test_host_handlers_find_the_embed_in_the_state_and_read_their_own_bodies(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    async def handle(request: Request) -> Response:
        integrations = await request.state.kombo.integrations("acme")
        return JSONResponse({"body": (await request.body()).decode(), "integrations": integrations})

    app = Starlette(routes=[Route("/mine", handle, methods=["POST"])])
    embed = make_embed(kombo)
    embed.install(app)
    async with running(app) as client:
        response = await client.post("/mine", content=b"not ours to read")
    assert response.json() == {"body": "not ours to read", "integrations": []}


@pytest.mark.parametrize("host", [Starlette(), asgi_app_without_lifespan, ignores_lifespan])
async def test_invalid_settings_stop_the_start_with_a_message_that_names_them(
    host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOMBO_REGION", "mars")
    app = KomboEmbedMiddleware(host, embed=KomboEmbed(end_user=end_user_from_header), path="/kombo")
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert "KOMBO_API_KEY" in sent[0]["message"]
    assert "KOMBO_REGION" in sent[0]["message"]


@pytest.mark.parametrize("host", [Starlette(), asgi_app_without_lifespan, ignores_lifespan])
def test_a_test_client_raises_why_the_app_does_not_start(host: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it will need another HTTP client than httpx
        from starlette.testclient import TestClient  # noqa: PLC0415 - as above
    app = KomboEmbedMiddleware(host, embed=KomboEmbed(end_user=end_user_from_header))
    with pytest.raises(ConfigurationError, match="KOMBO_API_KEY"), TestClient(app):
        pytest.fail("it started")


async def test_a_manager_of_the_lifespan_raises_why_the_routes_do_not_start() -> None:
    manager = LifespanManager(KomboEmbed(end_user=end_user_from_header).app)
    with pytest.raises(ConfigurationError, match="KOMBO_API_KEY"):
        await manager.__aenter__()


async def test_without_lifespan_events_invalid_settings_are_a_problem_that_names_no_setting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    embed = KomboEmbed(end_user=end_user_from_header)
    app = KomboEmbedMiddleware(asgi_app_without_lifespan, embed=embed, path="/kombo")
    async with in_process(app) as client:
        response = await client.post("/kombo/links", headers=ADA, json={})
        assert (response.status_code, response.json()["code"]) == (500, "configuration")
        assert "KOMBO_API_KEY" not in response.text
        assert (await client.get("/")).text == "the host's"
    assert any("KOMBO_API_KEY" in str(vars(record)) for record in caplog.records)


async def test_without_an_end_user_callable_it_does_not_start(kombo: httpx.AsyncBaseTransport) -> None:
    with pytest.raises(ConfigurationError, match="end_user"):
        await KomboEmbed(settings=make_settings(), http_transport=kombo).open()


async def test_the_routes_can_be_mounted_by_hand(kombo: httpx.AsyncBaseTransport) -> None:
    embed = make_embed(kombo)
    app = Starlette(
        routes=[Mount("/mounted", embed.app), Mount("/listed", routes=embed.routes())],
    )
    app.add_middleware(KomboEmbedMiddleware, embed=embed)
    async with running(app) as client:
        for path in ("/mounted", "/listed"):
            assert (await client.post(f"{path}/links", headers=ADA, json={})).status_code == 200
            assert (await client.post(f"{path}/links", json={})).json()["code"] == "unauthenticated"


async def test_it_can_start_again_after_shutdown(kombo: httpx.AsyncBaseTransport) -> None:
    embed = make_embed(kombo)
    for _ in range(2):
        app = Starlette()
        embed.install(app)
        async with running(app) as client:
            assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 200


async def test_the_mount_path_comes_from_the_settings_or_the_argument(
    kombo: httpx.AsyncBaseTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Starlette()
    make_embed(kombo, mount_path="/from/settings").install(app)
    make_embed(kombo).install(app, path="/from/call")
    monkeypatch.setenv("KOMBO_MOUNT_PATH", "/from/environment")
    monkeypatch.setenv("KOMBO_API_KEY", "ks_dev_x")
    KomboEmbed(end_user=end_user_from_header, http_transport=kombo).install(app)
    async with running(app) as client:
        for path in ("/from/settings", "/from/call", "/from/environment"):
            assert (await client.get(f"{path}/health")).status_code == 200


async def test_health_needs_no_login_and_fails_without_the_database(
    kombo: httpx.AsyncBaseTransport, sandbox: Sandbox
) -> None:
    app = Starlette()
    embed = make_embed(kombo)
    embed.install(app)
    async with running(app) as client:
        healthy = await client.get("/kombo/health")
        webhooks = {"configured": True, "last_received_at": None}
        expected = {"status": "ok", "checks": {"store": "ok"}, "webhooks": webhooks}
        assert (healthy.status_code, healthy.json()) == (200, expected)
        with closing(sqlite3.connect("kombo_embed.db")) as database, database:
            database.execute("drop table kombo_embed_integrations")
        failing = await client.get("/kombo/health")
        assert (failing.status_code, failing.json()["status"]) == (503, "failing")
        assert failing.json()["webhooks"] == webhooks
        lost = await client.get("/kombo/integrations", headers=ADA)
        assert (lost.status_code, lost.json()["code"]) == (503, "store_unavailable")
        assert lost.headers["retry-after"] == "5"
    assert sandbox.calls == {}


async def test_the_identity_callable_may_raise_an_http_exception(kombo: httpx.AsyncBaseTransport) -> None:
    def forbidden(_connection: object) -> EndUser | None:
        raise HTTPException(403, "Only administrators connect tools.")

    app = Starlette()
    KomboEmbed(end_user=forbidden, settings=make_settings(), http_transport=kombo).install(app)
    async with running(app) as client:
        response = await client.post("/kombo/links", json={})
    assert response.status_code == 403
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "forbidden"
    assert response.json()["detail"] == "Only administrators connect tools."


@pytest.mark.parametrize(
    "wrong",
    [
        lambda _: {"email": "ada@acme.example"},
        lambda _: EndUser(email="ada@acme.example", organization_name="Acme", origin_id=""),
        lambda _: EndUser(email="ada", organization_name="Acme", origin_id="acme"),
        lambda _: 1 / 0,
    ],
)
async def test_an_incomplete_identity_is_an_identity_error_and_gets_no_link(
    wrong: Any, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, caplog: pytest.LogCaptureFixture
) -> None:
    app = Starlette()
    KomboEmbed(end_user=wrong, settings=make_settings(), http_transport=kombo).install(app)
    async with running(app) as client:
        response = await client.post("/kombo/links", json={})
    assert (response.status_code, response.json()["code"]) == (500, "identity_error")
    assert sandbox.calls == {}
    assert any(record.message.startswith("identity.failed") for record in caplog.records)


async def test_two_embeds_cannot_be_installed_at_one_path(kombo: httpx.AsyncBaseTransport) -> None:
    app = Starlette()
    make_embed(kombo).install(app)
    with pytest.raises(ConfigurationError, match=r"mount at /kombo.*MOUNT_PATH"):
        make_embed(kombo).install(app)


async def test_a_path_without_its_slash_is_refused(kombo: httpx.AsyncBaseTransport) -> None:
    with pytest.raises(ConfigurationError, match="/kombo"):
        make_embed(kombo).install(Starlette(), path="kombo")
    with pytest.raises(ConfigurationError, match="/kombo"):
        KomboEmbedMiddleware(Starlette(), embed=make_embed(kombo), path="kombo/")


@pytest.mark.parametrize("root_path", ["/k", "/komb", "/", "/kombo-app", "/api"])
@pytest.mark.parametrize("is_stripped", [True, False])
async def test_a_root_path_that_begins_like_the_path_changes_nothing(
    root_path: str, kombo: httpx.AsyncBaseTransport, *, is_stripped: bool
) -> None:
    embed = make_embed(kombo)
    app = KomboEmbedMiddleware(asgi_app_without_lifespan, embed=embed, path="/kombo")
    transport = httpx.ASGITransport(app, root_path=root_path)
    prefix = "" if is_stripped else root_path.rstrip("/")
    async with embed, httpx.AsyncClient(transport=transport, base_url="http://app.example") as client:
        assert (await client.get(f"{prefix}/kombo/health")).text.startswith('{"status":"ok"')
        assert (await client.get(f"{prefix}/kombos")).text == "the host's"
