"""How many statements a request costs the database: none for an end user who exceeds a rate limit."""

from __future__ import annotations

from typing import Any

import httpx

from kombo_embed.sandbox import Sandbox
from tests.redis_server import RedisServer
from tests.support import (
    ManualClock,
    exchanged,
    make_host,
    minted,
    order_fault,
    person,
    recorded_statements,
    running,
)

ADA = person("ada@acme")
PRESET = {"integration_tool": "hibob"}


async def request(client: httpx.AsyncClient, method: str, path: str, body: Any) -> tuple[int, list[str]]:
    """Return the status of a request of Ada's and the statements that it executed."""
    with recorded_statements() as statements:
        response = await client.request(method, f"/kombo{path}", headers=ADA, json=body)
    return response.status_code, statements


async def test_a_limited_end_user_costs_no_statement_and_no_call_whatever_is_requested(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, database_url: str
) -> None:
    app, _ = make_host(
        kombo,
        clock=ManualClock(),
        database_url=database_url,
        link_rate="1/minute",
        completion_rate="1/minute",
    )
    async with running(app) as client:
        link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        token = {"activation_token": (await sandbox.complete(link, "personio")).activation_token}
        done = (await client.post("/kombo/completions", headers=ADA, json=token)).json()["integration"]
        calls = minted(sandbox), exchanged(sandbox)
        for path, body in [
            ("/links", {}),
            ("/links", {"fresh": True}),
            ("/links", PRESET),
            ("/links", PRESET | {"fresh": True}),
            ("/links", {"integration_tool": "personio"}),
            (f"/integrations/{done['id']}/relink", {}),
            (f"/integrations/{done['id']}/relink", {"fresh": True}),
            (f"/integrations/{done['id']}/setup-link", {}),
            (f"/integrations/{'x' * 22}/relink", {}),
            (f"/integrations/{'x' * 22}/setup-link", {}),
            ("/completions", token),
            ("/completions", {"activation_token": "unknown"}),
        ]:
            for _ in range(2):
                assert await request(client, "POST", path, body) == (429, []), (path, body)
        assert (minted(sandbox), exchanged(sandbox)) == calls


async def test_deletions_are_limited_whatever_comes_of_them_and_counted_apart_from_completions(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo, clock=ManualClock(), completion_rate="3/minute", allow_disconnect=True)
    async with running(app) as client:
        link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        token = {"activation_token": (await sandbox.complete(link, "personio")).activation_token}
        done = (await client.post("/kombo/completions", headers=ADA, json=token)).json()["integration"]
        await order_fault(sandbox, "/integrations", "foreign_json", times=9, status=400, method="DELETE")
        path = f"/integrations/{done['id']}"
        answers = [await request(client, "DELETE", path, {}) for _ in range(5)]
        assert [status for status, _ in answers] == [502, 502, 502, 429, 429]
        assert [statements for _, statements in answers[3:]] == [[], []]
        assert sandbox.calls["DELETE /v1/integrations/{integration_id}"] == 3
        assert (await client.post("/kombo/completions", headers=ADA, json=token)).status_code == 200
        other = await client.delete(f"/kombo{path}", headers=person("grace@acme"))
        assert other.status_code == 502


async def test_a_limited_end_user_costs_no_statement_in_processes_that_share_a_redis(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    apps = [make_host(kombo, link_rate="1/minute", redis_url=redis_server.url)[0] for _ in range(2)]
    async with running(apps[0]) as first, running(apps[1]) as second:
        assert (await request(first, "POST", "/links", {}))[0] == 200
        for client in (first, second):
            assert await request(client, "POST", "/links", PRESET) == (429, [])
            assert await request(client, "POST", "/links", {}) == (200, [])


async def test_a_request_that_is_refused_before_it_is_understood_costs_no_statement(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    app, _ = make_host(kombo, allow_disconnect=True)
    async with running(app) as client:
        for method, path, body, status in [
            ("POST", "/links", {"surprise": 1}, 422),
            ("POST", "/links", [], 422),
            ("POST", "/completions", {"activation_token": ""}, 422),
            ("POST", "/integrations/x/relink", {}, 404),
            ("GET", "/integrations/x", None, 404),
            ("DELETE", "/integrations/x", {"a": 1}, 422),
            ("GET", "/tools?category=PAYROLL", None, 422),
            ("GET", "/unknown", None, 404),
            ("POST", "/webhooks", {}, 401),
        ]:
            found, statements = await request(client, method, path, body)
            assert (found, [one for one in statements if "kombo" in one]) == (status, []), path


async def test_a_cached_link_costs_no_statement(kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        for body in ({}, PRESET):
            status, statements = await request(client, "POST", "/links", body)
            assert (status, len(statements) > 0) == (200, True)
            assert await request(client, "POST", "/links", body) == (200, [])
