"""The whole connection flow, in-process: a link, a flow at the sandbox, a record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.types import ASGIApp

from kombo_embed import EndUser, Event, KomboEmbed, KomboEmbedMiddleware, Settings
from kombo_embed.fastapi import router
from kombo_embed.sandbox import Sandbox
from tests.fakes import FlakyTransport, RecordingTransport, respond
from tests.support import (
    deliver_webhooks,
    end_user_from_header,
    exchanged,
    make_host,
    make_settings,
    minted,
    person,
    running,
)

ADA, GRACE, OTHER = person("ada@acme"), person("grace@acme"), person("alan@bletchley")


def installed_in_starlette(embed: KomboEmbed) -> ASGIApp:
    app = Starlette()
    embed.install(app)
    return app


def installed_in_fastapi(embed: KomboEmbed) -> ASGIApp:
    app = FastAPI()
    embed.install(app)
    return app


def in_front_of_any_app(embed: KomboEmbed) -> ASGIApp:
    return KomboEmbedMiddleware(Starlette(), embed=embed, path="/kombo")


def as_routes_one_by_one(embed: KomboEmbed) -> ASGIApp:
    app = Starlette(routes=[Mount("/kombo", routes=embed.routes())])
    return KomboEmbedMiddleware(app, embed=embed)


def as_a_router_with_a_dependency(embed: KomboEmbed) -> ASGIApp:
    async def current_end_user(request: HTTPConnection) -> EndUser | None:
        return await end_user_from_header(request)

    app = FastAPI()
    app.include_router(router(embed, end_user=current_end_user), prefix="/kombo")
    return KomboEmbedMiddleware(app, embed=embed)


@pytest.mark.parametrize(
    "placed",
    [
        installed_in_starlette,
        installed_in_fastapi,
        in_front_of_any_app,
        as_routes_one_by_one,
        as_a_router_with_a_dependency,
    ],
)
async def test_a_signed_in_end_user_connects_a_tool_and_the_list_contains_it(
    placed: Callable[[KomboEmbed], ASGIApp], sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    embed = KomboEmbed(end_user=end_user_from_header, settings=make_settings(), http_transport=kombo)
    app = placed(embed)
    async with running(app) as client:
        issued = await client.post("/kombo/links", headers=ADA, json={"integration_tool": "personio"})
        assert issued.status_code == 200
        assert issued.headers["cache-control"] == "no-store"
        assert issued.headers["cache-status"] == "kombo-embed; fwd=uri-miss; stored"
        assert set(issued.json()) == {"link", "expires_at"}
        assert datetime.fromisoformat(issued.json()["expires_at"]).utcoffset() is not None

        flow = await sandbox.complete(issued.json()["link"], "personio")
        completed = await client.post(
            "/kombo/completions", headers=ADA, json={"activation_token": flow.activation_token}
        )
        assert completed.status_code == 201
        integration = completed.json()["integration"]
        assert integration["tool"] == "personio"
        assert integration["category"] == "HRIS"
        assert integration["organization_name"] == "Acme"
        assert flow.integration_id not in completed.text

        again = await client.post(
            "/kombo/completions", headers=GRACE, json={"activation_token": flow.activation_token}
        )
        assert again.status_code == 200
        assert again.json()["integration"]["id"] == integration["id"]
        assert exchanged(sandbox) == 1

        listed = (await client.get("/kombo/integrations", headers=GRACE)).json()["integrations"]
        assert [row["id"] for row in listed] == [integration["id"]]


async def test_the_identity_sent_to_kombo_comes_from_the_server(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    recording = RecordingTransport(kombo)
    app, _ = make_host(recording, scope_config_id="scope-1", enable_filtering=True)
    async with running(app) as client:
        await client.post("/kombo/links", headers=ADA, json={"integration_category": "ATS", "language": "de"})
    assert recording.bodies == [
        {
            "end_user_email": "ada@acme.example",
            "end_user_organization_name": "Acme",
            "end_user_origin_id": "acme",
            "integration_category": "ATS",
            "language": "de",
            "link_type": "EMBEDDED",
            "scope_config_id": "scope-1",
        }
    ]
    assert minted(sandbox) == 1


async def test_a_request_that_is_not_signed_in_gets_401_and_kombo_is_not_called(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        for method, path in [("POST", "/links"), ("POST", "/completions"), ("GET", "/integrations")]:
            response = await client.request(method, f"/kombo{path}", content=b"not parsed")
            assert response.status_code == 401
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["code"] == "unauthenticated"
            assert {"type", "title", "status", "detail"} <= set(response.json())
    assert sandbox.calls == {}


async def test_another_organization_can_neither_complete_a_flow_nor_list_its_integration(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, embed = make_host(kombo)
    async with running(app) as client:
        link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        flow = await sandbox.complete(link, "hibob")
        token = {"activation_token": flow.activation_token}

        stolen = await client.post("/kombo/completions", headers=OTHER, json=token)
        unknown = await client.post("/kombo/completions", headers=OTHER, json={"activation_token": "made-up"})
        assert stolen.status_code == unknown.status_code == 422
        assert stolen.json() == unknown.json()
        assert stolen.json()["code"] == "activation_rejected"
        assert (await client.get("/kombo/integrations", headers=OTHER)).json()["integrations"] == []

        # It is recorded under the origin id that Kombo reported.
        assert [i.tool for i in await embed.integrations("acme")] == ["hibob"]
        assert (await client.post("/kombo/completions", headers=ADA, json=token)).status_code == 200


async def test_an_integration_of_an_origin_id_without_a_link_from_here_is_not_recorded(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, embed = make_host(kombo)
    other_app, _ = make_host(kombo, database_url="sqlite+aiosqlite:///another.db")
    async with running(other_app) as other_client, running(app) as client:
        link = (await other_client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        flow = await sandbox.complete(link, "hibob")
        response = await client.post(
            "/kombo/completions", headers=OTHER, json={"activation_token": flow.activation_token}
        )
        assert response.status_code == 422
        assert await embed.integrations("acme") == []


async def test_a_completion_invalidates_all_cached_links_of_its_origin_id(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        adas = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        graces = (await client.post("/kombo/links", headers=GRACE, json={"language": "de"})).json()["link"]
        others = (await client.post("/kombo/links", headers=OTHER, json={})).json()["link"]
        flow = await sandbox.complete(adas, "personio")
        await client.post("/kombo/completions", headers=ADA, json={"activation_token": flow.activation_token})
        fresh = await client.post("/kombo/links", headers=GRACE, json={"language": "de"})
        assert fresh.json()["link"] != graces
        unchanged = await client.post("/kombo/links", headers=OTHER, json={})
        assert unchanged.json()["link"] == others
        assert unchanged.headers["cache-status"].startswith("kombo-embed; hit; ttl=")


async def test_the_webhook_alone_records_the_integration(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, embed = make_host(kombo)
    async with running(app) as client:
        deliver_webhooks(sandbox, app)
        link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        await sandbox.settle()

        listed = (await client.get("/kombo/integrations", headers=ADA)).json()["integrations"]
        assert [(i["tool"], i["category"]) for i in listed] == [("personio", "HRIS")]
        integration = await embed.integration(flow.integration_id)
        assert integration is not None
        assert integration.public_id == listed[0]["id"]

        late = await client.post(
            "/kombo/completions", headers=ADA, json={"activation_token": flow.activation_token}
        )
        assert late.status_code == 200
        assert late.json()["integration"]["id"] == listed[0]["id"]
        assert late.json()["integration"]["setup_status"] is not None


async def test_browser_and_webhook_together_write_one_record_and_one_event(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, embed = make_host(kombo)
    events: list[Event] = []
    second = asyncio.Event()

    @embed.on("integration.connected")
    async def append(event: Event) -> None:
        events.append(event)
        if event.origin_id == "bletchley":
            second.set()

    async with running(app) as client:
        deliver_webhooks(sandbox, app)
        for who in (ADA, OTHER):
            link = (await client.post("/kombo/links", headers=who, json={})).json()["link"]
            flow = await sandbox.complete(link, "personio", duplicate=True)
            await asyncio.gather(
                sandbox.settle(),
                *(
                    client.post(
                        "/kombo/completions", headers=who, json={"activation_token": flow.activation_token}
                    )
                    for _ in range(10)
                ),
            )
        async with asyncio.timeout(30):
            await second.wait()
    assert [(event.type, event.origin_id) for event in events] == [
        ("integration.connected", "acme"),
        ("integration.connected", "bletchley"),
    ]
    assert events[0].integration is not None
    assert events[0].integration.tool == "personio"


@pytest.mark.parametrize("framework", [Starlette, FastAPI])
async def test_a_catch_all_of_the_host_does_not_shadow_the_mount(
    framework: type[Starlette], kombo: httpx.AsyncBaseTransport
) -> None:
    app = framework()
    app.router.routes.append(Mount("/", app=PlainTextResponse("the host's")))
    KomboEmbed(end_user=end_user_from_header, settings=make_settings(), http_transport=kombo).install(app)
    async with running(app) as client:
        assert (await client.get("/kombo/health")).json()["status"] == "ok"
        assert (await client.get("/kombolike")).text == "the host's"
        assert (await client.get("/")).text == "the host's"


async def test_two_environments_in_one_app_share_nothing(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    for prefix, environment, path in [("KOMBO_", "eu-prod", "/kombo"), ("KOMBO_US_", "us-prod", "/kombo-us")]:
        monkeypatch.setenv(f"{prefix}API_KEY", "ks_dev_a-made-up-key")
        monkeypatch.setenv(f"{prefix}API_URL", "http://localhost:8001/v1")
        monkeypatch.setenv(f"{prefix}ENVIRONMENT", environment)
        monkeypatch.setenv(f"{prefix}MOUNT_PATH", path)
        monkeypatch.setenv(f"{prefix}DATABASE_URL", "sqlite+aiosqlite:///shared.db")
    app = Starlette()
    first = KomboEmbed(end_user=end_user_from_header, http_transport=kombo)
    second = KomboEmbed(
        end_user=end_user_from_header, settings=Settings(_env_prefix="KOMBO_US_"), http_transport=kombo
    )
    first.install(app)
    second.install(app)
    async with running(app) as client:
        one = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        other = (await client.post("/kombo-us/links", headers=ADA, json={})).json()["link"]
        assert one != other
        flow = await sandbox.complete(one, "personio")
        token = {"activation_token": flow.activation_token}
        assert (await client.post("/kombo/completions", headers=ADA, json=token)).status_code == 201
        assert [i.tool for i in await first.integrations("acme")] == ["personio"]
        assert await second.integrations("acme") == []
        assert await second.integration(flow.integration_id) is None
        # The invalidation concerns one environment only.
        again = await client.post("/kombo-us/links", headers=ADA, json={})
        assert again.headers["cache-status"].startswith("kombo-embed; hit")


async def test_the_end_user_callable_may_be_async(kombo: httpx.AsyncBaseTransport) -> None:
    async def ada(_connection: object) -> EndUser | None:
        return EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")

    app, _ = make_host(kombo, end_user=ada)
    async with running(app) as client:
        assert (await client.post("/kombo/links", json={})).status_code == 200


@pytest.mark.parametrize("tool", ["constructor", "__proto__", "toString", "__class__", "__init__", "None"])
async def test_a_tool_may_have_the_name_of_a_property_of_every_object(
    tool: str, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    listed = {"tools": [{"id": tool, "label": tool, "assets": {}}]}
    catalogue = respond(json={"status": "success", "data": listed})
    app, _ = make_host(FlakyTransport(kombo, then=catalogue, path="/tools/"), allowed_tools=(tool, "hibob"))
    async with running(app) as client:
        body = {"integration_tool": tool}
        link = (await client.post("/kombo/links", headers=ADA, json=body)).json()["link"]
        token = (await sandbox.complete(link, tool)).activation_token
        completion = await client.post("/kombo/completions", headers=ADA, json={"activation_token": token})
        assert (completion.status_code, completion.json()["integration"]["tool"]) == (201, tool)
        [offered] = (await client.get("/kombo/tools", headers=ADA)).json()["tools"]
        assert (offered["id"], offered["connected"]) == (tool, True)
        again = await client.post("/kombo/links", headers=ADA, json=body)
        assert (again.status_code, again.json()["integration"]["tool"]) == (409, tool)
        other = await client.post("/kombo/links", headers=ADA, json={"integration_tool": f"{tool}x"})
        assert other.status_code == 422
