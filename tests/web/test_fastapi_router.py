"""The router for FastAPI apps: the same operations, with a dependency of the host's as identity."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from openapi_spec_validator import validate

from kombo_embed import EndUser, Event, KomboEmbed, KomboEmbedMiddleware
from kombo_embed.fastapi import router
from kombo_embed.kombo.webhooks import sign
from kombo_embed.link_cache.memory import MemoryLinkCache
from kombo_embed.models import CacheKey, ConnectionLink
from kombo_embed.sandbox import Sandbox
from kombo_embed.web.routes import OPERATIONS
from tests.auth.logged import logged_reason
from tests.support import (
    WEBHOOK_SECRET,
    ManualClock,
    change_state,
    deliver_webhooks,
    end_user_from_header,
    make_settings,
    minted,
    person,
    running,
)

ADA, OTHER = person("ada@acme"), person("alan@bletchley")
ALLOWED = "https://spa.example.com"
JSON = {"Content-Type": "application/json"}
BEARER = HTTPBearer()


def database() -> list[str]:
    return ["ada@acme", "alan@bletchley"]


async def current_end_user(
    known: Annotated[list[str], Depends(database)], x_person: Annotated[str | None, Header()] = None
) -> AsyncIterator[EndUser | None]:
    """Resolve the end user as hosts do: with dependencies of its own, and something to close."""
    if x_person is None or x_person not in known:
        yield None
        return
    name, _, organization = x_person.partition("@")
    yield EndUser(
        email=f"{name}@{organization}.example", organization_name=organization.title(), origin_id=organization
    )


def make_app(
    kombo: httpx.AsyncBaseTransport, end_user: Any = current_end_user, **settings: Any
) -> tuple[FastAPI, KomboEmbed]:
    embed = KomboEmbed(settings=make_settings(**settings), http_transport=kombo)
    app = FastAPI()
    app.include_router(router(embed, end_user=end_user), prefix="/kombo")
    app.add_middleware(KomboEmbedMiddleware, embed=embed)
    return app, embed


async def test_a_tool_is_connected_renewed_and_deleted(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, embed = make_app(kombo, allow_disconnect=True)
    connected: list[Event] = []
    embed.on("integration.connected")(connected.append)
    async with running(app) as client:
        deliver_webhooks(sandbox, app)
        issued = await client.post("/kombo/links", headers=ADA, json={"integration_tool": "personio"})
        assert issued.status_code == 200
        assert issued.headers["cache-status"] == "kombo-embed; fwd=uri-miss; stored"
        again = await client.post("/kombo/links", headers=ADA, json={"integration_tool": "personio"})
        assert again.json() == issued.json()
        assert minted(sandbox) == 1

        flow = await sandbox.complete(issued.json()["link"], "personio")
        token = {"activation_token": flow.activation_token}
        stolen = await client.post("/kombo/completions", headers=OTHER, json=token)
        assert (stolen.status_code, stolen.json()["code"]) == (422, "activation_rejected")
        done = await client.post("/kombo/completions", headers=ADA, json=token)
        assert done.status_code in {200, 201}
        assert done.json()["integration"]["tool"] == "personio"
        twice = await client.post("/kombo/completions", headers=ADA, json=token)
        assert twice.status_code == 200
        await sandbox.settle()

        one = f"/kombo/integrations/{done.json()['integration']['id']}"
        await change_state(sandbox, flow.integration_id, "INVALID")
        changed = await client.get(one, headers=ADA)
        assert changed.json()["integration"]["next_action"] == "reconnect"
        unchanged = await client.get(one, headers=ADA | {"If-None-Match": changed.headers["etag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert (await client.get(one, headers=OTHER)).json()["code"] == "integration_not_found"
        assert (await client.post(f"{one}/relink", headers=ADA, json={})).status_code == 200
        tools = (await client.get("/kombo/tools?category=HRIS", headers=ADA)).json()["tools"]
        assert [tool["id"] for tool in tools if tool["connected"]] == ["personio"]
        assert (await client.delete(one, headers=ADA)).status_code == 204
        listed = await client.get("/kombo/integrations", headers=ADA)
        assert listed.json()["integrations"] == []


async def test_requests_that_are_not_signed_in_are_unauthenticated(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_app(kombo)
    async with running(app) as client:
        for operation in OPERATIONS:
            if operation.signed_in:
                path = f"/kombo{operation.path}".replace("{id}", "unknown")
                response = await client.request(operation.method, path, headers=person("mallory@acme"))
                assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
                assert response.headers["content-type"] == "application/problem+json"
    assert sandbox.calls == {}


async def test_webhooks_the_module_health_and_the_document_do_not_call_the_dependency(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    def not_called() -> EndUser:
        raise AssertionError

    app, _ = make_app(kombo, not_called)
    event = b'{"id":"e","type":"sync-finished","data":{}}'
    async with running(app) as client:
        signature = {"X-Kombo-Signature": sign(event, WEBHOOK_SECRET)}
        assert (await client.post("/kombo/webhooks", headers=signature, content=event)).status_code == 204
        assert (await client.post("/kombo/webhooks", content=event)).json()["code"] == "webhook_rejected"
        assert (await client.get("/kombo/kombo-embed.js")).status_code == 200
        assert (await client.get("/kombo/health")).json()["status"] == "ok"
        assert (await client.get("/kombo/openapi.json")).json()["openapi"] == "3.1.0"
    assert sandbox.calls == {}


async def test_the_origin_is_checked_before_the_dependency_and_the_dependency_before_the_body(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    calls: list[str] = []

    def end_user(x_person: Annotated[str | None, Header()] = None) -> EndUser | None:
        calls.append("end_user")
        return None if x_person is None else EndUser("ada@acme.example", "Acme", "acme")

    app, _ = make_app(kombo, end_user)
    cross, plain = {"Sec-Fetch-Site": "cross-site"}, {"Content-Type": "text/plain"}
    large = b"x" * 300_000
    async with running(app) as client:

        async def code(headers: dict[str, str], body: bytes) -> tuple[int, str]:
            response = await client.post("/kombo/links", headers=headers, content=body)
            return response.status_code, response.json()["code"]

        assert await code(cross | plain, large) == (403, "cross_origin")
        assert calls == []
        assert await code(plain, large) == (401, "unauthenticated")
        assert await code(ADA | plain, large) == (415, "invalid_request")
        assert await code(ADA | JSON, large) == (413, "invalid_request")
        assert await code(ADA | JSON, b"{") == (400, "invalid_request")
        assert await code(ADA | JSON, b'{"x":1}') == (422, "invalid_request")
        assert len(calls) == 5


async def test_an_http_exception_of_the_dependency_is_a_problem_with_its_headers(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    def end_user() -> EndUser:
        raise HTTPException(403, {"ask": "Grace"}, headers={"X-Reason": "role"})

    app, _ = make_app(kombo, end_user)
    async with running(app) as client:
        response = await client.post("/kombo/links", json={})
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert (response.json()["detail"], response.headers["x-reason"]) == ('{"ask": "Grace"}', "role")
    assert response.headers["content-type"] == "application/problem+json"


def a_mapping() -> dict[str, str]:
    return {"email": "ada@acme.example"}


def incomplete_identity() -> EndUser:
    return EndUser(email="ada@acme.example", organization_name="Acme", origin_id="")


def a_bug() -> EndUser:
    raise RuntimeError("a secret")


def a_redirect() -> EndUser:
    raise HTTPException(307, headers={"Location": "/login"})


def deep(_below: Annotated[EndUser, Depends(a_bug)]) -> EndUser:
    raise AssertionError


@pytest.mark.parametrize("end_user", [a_mapping, incomplete_identity, a_bug, a_redirect, deep])
async def test_a_dependency_that_fails_or_returns_something_else_is_an_identity_error(
    end_user: Any, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = make_app(kombo, end_user)
    async with running(app) as client:
        response = await client.post("/kombo/links", json={})
    assert (response.status_code, response.json()["code"]) == (500, "identity_error")
    [record] = [record for record in caplog.records if record.name == "kombo_embed.auth"]
    assert record.message == "identity.failed"
    assert "a secret" not in response.text + caplog.text + str(vars(record))
    assert sandbox.calls == {}


async def test_invalid_parameters_of_the_dependency_are_named_by_field(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    def end_user(x_tenant: Annotated[int, Header()]) -> EndUser:
        return EndUser("ada@acme.example", "Acme", str(x_tenant))

    app, _ = make_app(kombo, end_user)
    async with running(app) as client:
        missing = await client.post("/kombo/links", json={})
        wrong = await client.post("/kombo/links", headers={"X-Tenant": "seven"}, json={})
        right = await client.post("/kombo/links", headers={"X-Tenant": "7"}, json={})
    for response in (missing, wrong):
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
        assert response.headers["content-type"] == "application/problem+json"
        assert [error["field"] for error in response.json()["errors"]] == ["header.x-tenant"]
        assert "seven" not in response.text
    assert right.status_code == 200


async def test_a_security_scheme_is_applied_and_documented(kombo: httpx.AsyncBaseTransport) -> None:
    def end_user(given: Annotated[HTTPAuthorizationCredentials, Depends(BEARER)]) -> EndUser | None:
        return EndUser("ada@acme.example", "Acme", "acme") if given.credentials == "good" else None

    app, _ = make_app(kombo, end_user)
    async with running(app) as client:
        missing = await client.post("/kombo/links", json={})
        wrong = await client.post("/kombo/links", headers={"Authorization": "Bearer bad"}, json={})
        right = await client.post("/kombo/links", headers={"Authorization": "Bearer good"}, json={})
    assert [response.status_code for response in (missing, wrong, right)] == [401, 401, 200]
    assert missing.headers["www-authenticate"] == "Bearer"
    paths = app.openapi()["paths"]
    assert paths["/kombo/links"]["post"]["security"] == [{"HTTPBearer": []}]
    assert "security" not in paths["/kombo/health"]["get"]


async def test_the_hosts_tests_can_override_the_dependency(kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_app(kombo)
    app.dependency_overrides[current_end_user] = lambda: EndUser("ada@acme.example", "Acme", "acme")
    async with running(app) as client:
        assert (await client.post("/kombo/links", json={})).status_code == 200


async def test_a_generator_dependency_is_closed_after_the_response_was_made(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    seen: list[str] = []

    async def end_user() -> AsyncIterator[EndUser]:
        seen.append("opened")
        yield EndUser("ada@acme.example", "Acme", "acme")
        seen.append("closed")

    app, _ = make_app(kombo, end_user)
    async with running(app) as client:
        assert (await client.post("/kombo/links", json={})).status_code == 200
        assert (await client.post("/kombo/links", json={"x": 1})).status_code == 422
    assert seen == ["opened", "closed"] * 2


async def test_without_a_dependency_the_embeds_own_end_user_is_used(kombo: httpx.AsyncBaseTransport) -> None:
    embed = KomboEmbed(end_user=end_user_from_header, settings=make_settings(), http_transport=kombo)
    app = FastAPI()
    embed.install(app)
    app.include_router(router(embed), prefix="/api/hr")
    async with running(app) as client:
        for base in ("/api/hr", "/kombo"):
            assert (await client.post(f"{base}/links", headers=ADA, json={})).status_code == 200
            assert (await client.post(f"{base}/links", json={})).json()["code"] == "unauthenticated"


async def test_the_mount_of_an_embed_without_end_user_is_an_identity_error(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, caplog: pytest.LogCaptureFixture
) -> None:
    embed = KomboEmbed(settings=make_settings(), http_transport=kombo)
    app = FastAPI()
    embed.install(app)
    app.include_router(router(embed, end_user=current_end_user), prefix="/api/hr")
    async with running(app) as client:
        assert (await client.post("/api/hr/links", headers=ADA, json={})).status_code == 200
        calls = dict(sandbox.calls)
        response = await client.post("/kombo/links", headers=ADA, json={})
        assert (response.status_code, response.json()["code"]) == (500, "identity_error")
    assert "has no end_user" in logged_reason(caplog)
    assert sandbox.calls == calls


async def test_the_first_request_opens_the_embed_if_nothing_else_does(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    embed = KomboEmbed(settings=make_settings(), http_transport=kombo)
    app = FastAPI()
    app.include_router(router(embed, end_user=current_end_user), prefix="/kombo")
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://app.example") as client:
        responses = await asyncio.gather(
            *(client.post("/kombo/links", headers=ADA, json={}) for _ in range(5))
        )
    assert {response.status_code for response in responses} == {200}
    await embed.close()


async def test_the_log_names_invalid_settings_if_the_first_request_opens_the_embed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = FastAPI()
    app.include_router(router(KomboEmbed(), end_user=current_end_user), prefix="/kombo")
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://app.example") as client:
        for method, path in (("POST", "/kombo/links"), ("PUT", "/kombo/links"), ("GET", "/kombo/links/")):
            response = await client.request(method, path)
            assert (response.status_code, response.json()["code"]) == (500, "configuration")
            assert "KOMBO_API_KEY" not in response.text
    assert all("KOMBO_API_KEY" in str(vars(record)) for record in caplog.records)
    assert {record.message for record in caplog.records} == {"start.failed"}


async def test_two_embeds_can_share_one_app(kombo: httpx.AsyncBaseTransport) -> None:
    app = FastAPI()
    for name in ("eu", "us"):
        settings = make_settings(environment=name, database_url=f"sqlite+aiosqlite:///{name}.db")
        embed = KomboEmbed(settings=settings, http_transport=kombo)
        app.include_router(router(embed, end_user=current_end_user), prefix=f"/{name}")
        app.add_middleware(KomboEmbedMiddleware, embed=embed)
    async with running(app) as client:
        links = {
            (await client.post(f"/{name}/links", headers=ADA, json={})).json()["link"]
            for name in ("eu", "us")
        }
    assert len(links) == 2
    validate(app.openapi())


async def test_pages_of_allowed_origins_can_call_it_and_read_its_errors(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    app, _ = make_app(kombo, allowed_origins=ALLOWED)
    page = {"Origin": ALLOWED, "Sec-Fetch-Site": "cross-site"}
    async with running(app) as client:
        for method, path, headers, status in (
            ("POST", "/links", ADA, 200),
            ("POST", "/links", {}, 401),
            ("POST", "/links", ADA | {"Content-Type": "text/plain"}, 415),
            ("GET", "/integrations/x", ADA, 404),
            ("GET", "/links", ADA, 405),
            ("GET", "/links/", ADA, 404),
        ):
            response = await client.request(method, f"/kombo{path}", headers=headers | page)
            assert response.status_code == status
            assert response.headers.get_list("access-control-allow-origin") == [ALLOWED]
            assert response.headers["content-type"].startswith("application/")
        for operation in OPERATIONS:
            preflight = {"Origin": ALLOWED, "Access-Control-Request-Method": operation.method}
            allowed = await client.options(f"/kombo{operation.path}", headers=preflight)
            assert allowed.status_code == 200
            assert allowed.headers["access-control-allow-origin"] == ALLOWED
            other = await client.options(
                f"/kombo{operation.path}", headers=preflight | {"Origin": "https://evil.test"}
            )
            assert "access-control-allow-origin" not in other.headers


async def test_other_methods_and_slashes_are_problems_and_never_redirects(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    app, _ = make_app(kombo)
    async with running(app) as client:
        method = await client.get("/kombo/links")
        assert (method.status_code, method.headers["allow"]) == (405, "POST")
        both = await client.put("/kombo/integrations/x")
        assert both.headers["allow"] == "DELETE, GET"
        for operation in OPERATIONS:
            path = f"/kombo{operation.path}/".replace("{id}", "unknown")
            for verb in ("GET", "POST", "DELETE", "OPTIONS"):
                response = await client.request(verb, path, headers={"Host": "evil.test"})
                assert (response.status_code, response.json()["code"]) == (404, "not_found")
                assert "location" not in response.headers


class BrokenCache(MemoryLinkCache):
    async def get(self, key: CacheKey) -> ConnectionLink | None:
        raise RuntimeError(f"broken for {key.environment}")


async def test_an_exception_after_the_dependency_is_not_an_identity_error(
    kombo: httpx.AsyncBaseTransport, caplog: pytest.LogCaptureFixture
) -> None:
    cache = BrokenCache(size=1, lifetime_seconds=60, clock=ManualClock())
    embed = KomboEmbed(settings=make_settings(), http_transport=kombo, link_cache=cache)
    app = FastAPI()
    app.include_router(router(embed, end_user=current_end_user), prefix="/kombo")
    async with embed:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app.example") as client:
            with pytest.raises(RuntimeError, match="broken for default"):  # the host's server responses 500
                await client.post("/kombo/links", headers=ADA, json={})
    assert "identity.failed" not in caplog.text


def test_the_hosts_document_has_every_operation_with_its_bodies_responses_and_problems(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    app, _ = make_app(kombo)
    document = app.openapi()
    validate(document)
    documented = {
        (method.upper(), path.removeprefix("/kombo")): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    assert documented.keys() == {(operation.method, operation.path) for operation in OPERATIONS}
    for operation in OPERATIONS:
        described = documented[operation.method, operation.path]
        assert described["summary"] == operation.summary
        assert described["tags"] == ["Kombo Connect"]
        assert ("requestBody" in described) is (operation.body is not None or operation.path == "/webhooks")
        problems = {
            status: response
            for status, response in described["responses"].items()
            if int(status) >= 400 and int(status) not in operation.responses
        }
        if operation.signed_in:
            assert {"401", "403", "422", "500"} <= problems.keys()
        for response in problems.values():
            schema = {"$ref": "#/components/schemas/KomboProblem"}
            assert response["content"] == {"application/problem+json": {"schema": schema}}
    link = documented["POST", "/links"]
    assert link["responses"]["200"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/KomboLinkResponse"
    }
    assert "Retry-After" in link["responses"]["429"]["headers"]
    sent = link["requestBody"]["content"]["application/json"]["schema"]
    assert set(sent["properties"]) == {
        "integration_category",
        "integration_tool",
        "language",
        "fresh",
        "prefetch",
    }
    assert "HTTPValidationError" not in document["components"]["schemas"]


@pytest.mark.integration
def test_without_fastapi_the_error_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['fastapi'] = None\n"
        "from kombo_embed import ConfigurationError\n"
        "try:\n    import kombo_embed.fastapi\n"
        "except ConfigurationError as error: print(error)"
    )
    output = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert "with its extra 'fastapi'" in output.stdout
