"""The headers of every response; and no response depends on the Host header."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from kombo_embed import KomboEmbed
from kombo_embed.sandbox import Sandbox
from kombo_embed.web.routes import OPERATIONS
from tests.support import deliver_webhooks, end_user_from_header, make_host, make_settings, person, running

ADA = person("ada@acme")
EVIL = "evil.test"
MODULES = ("/kombo-embed.js", "/kombo-integrations.js")


def has_our_headers(response: httpx.Response, *, cache_control: str = "no-store") -> bool:
    return (
        response.headers.get_list("cache-control"),
        response.headers.get_list("x-content-type-options"),
        response.headers.get_list("referrer-policy"),
    ) == ([cache_control], ["nosniff"], ["no-referrer"])


async def test_every_success_of_every_operation_has_them(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo, allow_disconnect=True, enable_field_mapping=True)
    seen: set[tuple[str, str]] = set()

    async def call(method: str, path: str, route: str = "", **sent: Any) -> httpx.Response:
        response = await client.request(method, f"/kombo{path}", **{"headers": ADA, **sent})
        assert response.is_success, response.text
        # The module is the same for everyone: it may be stored, and is revalidated by its entity tag.
        assert has_our_headers(response, cache_control="no-cache" if path.endswith(".js") else "no-store"), (
            path
        )
        seen.add((method, route or path))
        if "etag" in response.headers:
            tag, known = "", response
            while known.headers["etag"] != tag:  # the details read after a completion may change it
                tag = known.headers["etag"]
                known = await client.request(method, f"/kombo{path}", headers=ADA | {"If-None-Match": tag})
            assert known.status_code == 304
            assert has_our_headers(known, cache_control="no-cache" if path.endswith(".js") else "no-store"), (
                path
            )
        return response

    async with running(app) as client:
        deliver_webhooks(sandbox, Recorder(app, seen))
        for plain in ("/integrations", "/tools", "/openapi.json", "/health", *MODULES):
            await call("GET", plain)
        link = (await call("POST", "/links")).json()["link"]
        flow = await sandbox.complete(link, "personio")
        token = {"activation_token": flow.activation_token}
        done = await call("POST", "/completions", json=token)
        await sandbox.settle()
        one = f"/integrations/{done.json()['integration']['id']}"
        await call("GET", one, "/integrations/{id}")
        await call("POST", f"{one}/relink", "/integrations/{id}/relink")
        await call("POST", f"{one}/setup-link", "/integrations/{id}/setup-link")
        await call("DELETE", one, "/integrations/{id}")
    assert seen == {(known.method, known.path) for known in OPERATIONS}


class Recorder:
    """Checks the responses to the sandbox's webhooks."""

    def __init__(self, app: Any, seen: set[tuple[str, str]]) -> None:
        self._app = app
        self._seen = seen

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def check(message: Any) -> None:
            if message["type"] == "http.response.start":
                response = httpx.Response(message["status"], headers=message["headers"])
                assert message["status"] == 204
                assert has_our_headers(response)
                self._seen.add(("POST", "/webhooks"))
            await send(message)

        await self._app(scope, receive, check)


@pytest.mark.parametrize(
    "operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}"
)
async def test_every_problem_has_them(operation: Any, kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo)
    path = f"/kombo{operation.path}".replace("{id}", "unknown")
    async with running(app) as client:
        responses = [
            await client.request("PATCH", path),
            await client.request(operation.method, f"{path}/nowhere"),
            await client.request(operation.method, f"{path}/"),
        ]
        if operation.signed_in:
            responses.append(await client.request(operation.method, path))
        if operation.checks_origin:
            responses.append(
                await client.request(operation.method, path, headers={"Origin": "https://evil.test"})
            )
        if operation.path == "/webhooks":
            responses.append(await client.request(operation.method, path))
    for response in responses:
        assert response.is_client_error
        assert response.headers["content-type"] == "application/problem+json"
        assert has_our_headers(response)


@pytest.mark.parametrize("framework", [Starlette, FastAPI])
async def test_no_response_depends_on_the_host_header(
    framework: type[Starlette], kombo: httpx.AsyncBaseTransport
) -> None:
    """Nor does a redirect of the host's router to a path with or without a slash at the end."""
    app = framework()
    KomboEmbed(end_user=end_user_from_header, settings=make_settings(), http_transport=kombo).install(app)
    paths = {f"/kombo{operation.path}".replace("{id}", "unknown") for operation in OPERATIONS}
    async with running(app) as client:
        for path in sorted(paths | {"/kombo", "/kombo//links", "/kombo/%2e%2e/links", "/kombo/nowhere"}):
            for slash in ("", "/"):
                for method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PATCH"):
                    sent = {"Host": EVIL, "X-Forwarded-Host": EVIL, "Forwarded": f"host={EVIL}"}
                    response = await client.request(method, path + slash, headers=ADA | sent)
                    assert "location" not in response.headers, (method, path)
                    assert not response.is_redirect
                    assert EVIL not in response.text


async def test_an_app_can_be_mounted_at_the_root(kombo: httpx.AsyncBaseTransport) -> None:
    app = Starlette(routes=[Route("/own", lambda _: PlainTextResponse("not reached"))])
    embed = KomboEmbed(end_user=end_user_from_header, settings=make_settings(), http_transport=kombo)
    embed.install(app, path="/")
    async with running(app) as client:
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/")).json()["code"] == "not_found"
