"""CORS: which pages may read our responses, with our CORS alone and inside the host's."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection

from kombo_embed import EndUser, KomboEmbed
from kombo_embed.web.routes import OPERATIONS
from tests.support import end_user_from_header, make_host, make_settings, person, running

ADA = person("ada@acme")
ALLOWED, OTHER = "https://spa.example.com", "https://evil.example"
JSON = {"Content-Type": "application/json"}


async def end_user_that_may_fail(connection: HTTPConnection) -> EndUser | None:
    if connection.headers.get("x-person") == "teapot":
        raise HTTPException(418, headers={"X-Reason": "tea"})
    if connection.headers.get("x-person") == "outage":
        raise HTTPException(503, headers={"Retry-After": "7"})
    if connection.headers.get("x-person") == "bug":
        raise RuntimeError
    return await end_user_from_header(connection)


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("POST", "/links", ADA, b"", 200),
        ("GET", "/integrations", ADA, b"", 200),
        ("GET", "/integrations", ADA | {"If-None-Match": "*"}, b"", 304),
        ("GET", "/kombo-embed.js", {}, b"", 200),
        ("GET", "/openapi.json", {}, b"", 200),
        ("GET", "/health", {}, b"", 200),
        ("POST", "/links", {}, b"", 401),
        ("POST", "/webhooks", {}, b"{}", 401),
        ("DELETE", "/integrations/x", ADA, b"", 403),
        ("GET", "/nowhere", ADA, b"", 404),
        ("GET", "", ADA, b"", 404),
        ("GET", "/", ADA, b"", 404),
        ("GET", "/integrations/x", ADA, b"", 404),
        ("GET", "/links", ADA, b"", 405),
        ("PUT", "/integrations/x", ADA, b"", 405),
        ("OPTIONS", "/links", ADA, b"", 405),
        ("POST", "/links", ADA | JSON, b"{", 400),
        ("POST", "/links", ADA | JSON, b"x" * 300_000, 413),
        ("POST", "/links", ADA, b"{}", 415),
        ("POST", "/links", ADA | JSON, b'{"x":1}', 422),
        ("POST", "/links", person("teapot"), b"", 418),
        ("POST", "/links", person("bug"), b"", 500),
        ("POST", "/links", person("outage"), b"", 503),
    ],
)
async def test_only_pages_of_allowed_origins_can_read_any_response(
    method: str, path: str, headers: dict[str, str], body: bytes, status: int, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo, end_user=end_user_that_may_fail, allowed_origins=ALLOWED)
    async with running(app) as client:
        response = await client.request(
            method, f"/kombo{path}", headers=headers | {"Origin": ALLOWED}, content=body
        )
        assert response.status_code == status
        assert response.headers.get_list("access-control-allow-origin") == [ALLOWED]
        assert response.headers.get_list("access-control-allow-credentials") == ["true"]
        assert "Retry-After" in response.headers["access-control-expose-headers"]
        assert "Origin" in response.headers["vary"]

        other = await client.request(
            method, f"/kombo{path}", headers=headers | {"Origin": OTHER}, content=body
        )
        assert "access-control-allow-origin" not in other.headers
        assert "Origin" in other.headers["vary"]
        assert "Origin" in (await client.request(method, f"/kombo{path}", headers=headers)).headers["vary"]


@pytest.mark.parametrize(
    "operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}"
)
async def test_every_operation_has_a_preflight(operation: Any, kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo, allowed_origins=ALLOWED)
    preflight = {
        "Access-Control-Request-Method": operation.method,
        "Access-Control-Request-Headers": "authorization,content-type,if-none-match,x-tenant",
    }
    async with running(app) as client:
        path = f"/kombo{operation.path}"
        allowed = await client.options(path, headers=preflight | {"Origin": ALLOWED})
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == ALLOWED
        assert allowed.headers["access-control-allow-credentials"] == "true"
        assert operation.method in allowed.headers["access-control-allow-methods"]
        assert "x-tenant" in allowed.headers["access-control-allow-headers"]
        assert "Origin" in allowed.headers["vary"]
        refused = await client.options(path, headers=preflight | {"Origin": OTHER})
        assert refused.status_code == 400
        assert "access-control-allow-origin" not in refused.headers
        for response in (allowed, refused):
            assert response.headers["x-content-type-options"] == "nosniff"


async def test_without_allowed_origins_there_are_no_cors_headers(kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        for method in ("GET", "OPTIONS"):
            response = await client.request(
                method,
                "/kombo/integrations",
                headers=ADA | {"Origin": OTHER, "Access-Control-Request-Method": "GET"},
            )
            assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize("ours_too", [True, False])
@pytest.mark.parametrize("outside", [True, False])
@pytest.mark.parametrize("hosts", [[ALLOWED], ["*"]])
async def test_inside_the_hosts_cors_middleware_each_header_is_sent_once_and_preflights_work(
    hosts: list[str], outside: bool, ours_too: bool, kombo: httpx.AsyncBaseTransport
) -> None:
    embed = KomboEmbed(
        end_user=end_user_from_header,
        settings=make_settings(allowed_origins=ALLOWED if ours_too or hosts == ["*"] else ()),
        http_transport=kombo,
    )
    app = Starlette()
    if outside:
        embed.install(app)
    app.add_middleware(
        CORSMiddleware, allow_origins=hosts, allow_credentials=True, allow_methods=["*"], allow_headers=["*"]
    )
    if not outside:
        embed.install(app)
    page = {"Origin": ALLOWED, "Cookie": "session=1"}
    async with running(app) as client:
        for method, path in [("GET", "/integrations"), ("GET", "/links"), ("GET", "/nowhere"), ("GET", "")]:
            response = await client.request(method, f"/kombo{path}", headers=ADA | page)
            assert response.headers.get_list("access-control-allow-origin") == [ALLOWED]
            assert response.headers.get_list("access-control-allow-credentials") == ["true"]
        preflight = await client.options(
            "/kombo/links", headers={"Origin": ALLOWED, "Access-Control-Request-Method": "POST"}
        )
        assert preflight.status_code == 200
        assert preflight.headers.get_list("access-control-allow-origin") == [ALLOWED]


async def test_pages_of_allowed_origins_can_read_that_the_start_failed(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    embed = KomboEmbed(
        end_user=end_user_from_header,
        settings=make_settings(
            allowed_origins=ALLOWED, database_url="sqlite+aiosqlite:///no/such/folder/kombo_embed.db"
        ),
        http_transport=kombo,
    )
    transport = httpx.ASGITransport(embed.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://app.example") as client:
        response = await client.post("/links", headers=ADA | {"Origin": ALLOWED}, json={})
    assert response.status_code in {500, 503}
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["access-control-allow-origin"] == ALLOWED
