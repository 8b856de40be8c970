"""What every answer of ours carries, and what none is made from: the Host header."""

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
from tests.support import deliver_webhooks, make_host, make_settings, person, running, who_the_header_names

ADA = person("ada@acme")
EVIL = "evil.test"


def is_guarded(answer: httpx.Response, *, kept: str = "no-store") -> bool:
    return (
        answer.headers.get_list("cache-control"),
        answer.headers.get_list("x-content-type-options"),
        answer.headers.get_list("referrer-policy"),
    ) == ([kept], ["nosniff"], ["no-referrer"])


async def test_every_success_of_every_call_carries_them(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo, allow_disconnect=True, enable_field_mapping=True)
    seen: set[tuple[str, str]] = set()

    async def call(method: str, path: str, route: str = "", **sent: Any) -> httpx.Response:
        answer = await client.request(method, f"/kombo{path}", **{"headers": ADA, **sent})
        assert answer.is_success, answer.text
        # The module is the same for everybody: it may be kept, and is asked for again by its tag.
        assert is_guarded(answer, kept="no-cache" if path == "/kombo-embed.js" else "no-store"), path
        seen.add((method, route or path))
        if "etag" in answer.headers:
            tag, known = "", answer
            while known.headers["etag"] != tag:  # what Kombo is asked for after a completion may come between
                tag = known.headers["etag"]
                known = await client.request(method, f"/kombo{path}", headers=ADA | {"If-None-Match": tag})
            assert known.status_code == 304
            assert is_guarded(known, kept="no-cache" if path == "/kombo-embed.js" else "no-store"), path
        return answer

    async with running(app) as client:
        deliver_webhooks(sandbox, Recorder(app, seen))
        for plain in ("/integrations", "/tools", "/kombo-embed.js", "/openapi.json", "/health"):
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
    """Sees what the webhooks of the sandbox are answered."""

    def __init__(self, app: Any, seen: set[tuple[str, str]]) -> None:
        self._app = app
        self._seen = seen

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def look(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer = httpx.Response(message["status"], headers=message["headers"])
                assert message["status"] == 204
                assert is_guarded(answer)
                self._seen.add(("POST", "/webhooks"))
            await send(message)

        await self._app(scope, receive, look)


@pytest.mark.parametrize("call", OPERATIONS, ids=lambda call: f"{call.method} {call.path}")
async def test_every_refusal_carries_them(call: Any, kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo)
    path = f"/kombo{call.path}".replace("{id}", "unknown")
    async with running(app) as client:
        answers = [
            await client.request("PATCH", path),
            await client.request(call.method, f"{path}/nowhere"),
            await client.request(call.method, f"{path}/"),
        ]
        if call.signed_in:
            answers.append(await client.request(call.method, path))
        if call.checks_origin:
            answers.append(await client.request(call.method, path, headers={"Origin": "https://evil.test"}))
        if call.path == "/webhooks":
            answers.append(await client.request(call.method, path))
    for answer in answers:
        assert answer.is_client_error
        assert answer.headers["content-type"] == "application/problem+json"
        assert is_guarded(answer)


@pytest.mark.parametrize("framework", [Starlette, FastAPI])
async def test_no_answer_is_made_from_the_host_header(
    framework: type[Starlette], kombo: httpx.AsyncBaseTransport
) -> None:
    """Also not by the host's router, which redirects to paths with another slash at the end."""
    app = framework()
    KomboEmbed(end_user=who_the_header_names, settings=make_settings(), http_transport=kombo).install(app)
    paths = {f"/kombo{call.path}".replace("{id}", "unknown") for call in OPERATIONS}
    async with running(app) as client:
        for path in sorted(paths | {"/kombo", "/kombo//links", "/kombo/%2e%2e/links", "/kombo/nowhere"}):
            for slash in ("", "/"):
                for method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PATCH"):
                    sent = {"Host": EVIL, "X-Forwarded-Host": EVIL, "Forwarded": f"host={EVIL}"}
                    answer = await client.request(method, path + slash, headers=ADA | sent)
                    assert "location" not in answer.headers, (method, path)
                    assert not answer.is_redirect
                    assert EVIL not in answer.text


async def test_an_app_can_be_mounted_at_the_root(kombo: httpx.AsyncBaseTransport) -> None:
    app = Starlette(routes=[Route("/own", lambda _: PlainTextResponse("never reached"))])
    embed = KomboEmbed(end_user=who_the_header_names, settings=make_settings(), http_transport=kombo)
    embed.install(app, path="/")
    async with running(app) as client:
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/")).json()["code"] == "not_found"
