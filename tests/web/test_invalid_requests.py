"""Invalid requests: their problems, and the order of the checks."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.support import make_host, minted, person, running

ADA = person("ada@acme")
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("path", "body", "status", "fields"),
    [
        ("/links", b"{", 400, ["body"]),
        ("/links", b"nonsense", 400, ["body"]),
        ("/links", b"\xff\xfe", 400, ["body"]),
        ("/links", b"[]", 422, ["body"]),
        ("/links", b"null", 422, ["body"]),
        ("/links", b'"text"', 422, ["body"]),
        ("/links", b"[" * 5000, 400, ["body"]),
        ("/links", b'{"integration_tool": 5}', 422, ["integration_tool"]),
        ("/links", b'{"integration_tool": ""}', 422, ["integration_tool"]),
        ("/links", b'{"integration_tool": "a\\nb"}', 422, ["integration_tool"]),
        ("/links", b'{"integration_category": "PAYROLL"}', 422, ["integration_category"]),
        ("/links", b'{"language": "tlh", "fresh": "yes"}', 422, ["language", "fresh"]),
        ("/links", b'{"surprise": 1}', 422, ["surprise"]),
        ("/links", b'{"end_user_origin_id": "other"}', 422, ["end_user_origin_id"]),
        ("/links", b'{"scope_config_id": "x"}', 422, ["scope_config_id"]),
        ("/links", b'{"link_type": "MAGIC_LINK"}', 422, ["link_type"]),
        ("/links", b"x" * 5_000_000, 413, ["body"]),
        ("/links", b" " * 8193, 413, ["body"]),
        ("/completions", b"{}", 422, ["activation_token"]),
        ("/completions", b'{"activation_token": 1}', 422, ["activation_token"]),
        ("/completions", b'{"activation_token": ""}', 422, ["activation_token"]),
        ("/completions", b'{"activation_token": ".."}', 422, ["activation_token"]),
        ("/completions", b'{"activation_token": "../../integrations/x"}', 422, ["activation_token"]),
        ("/completions", b'{"activation_token": "a?b"}', 422, ["activation_token"]),
        ("/completions", b'{"activation_token": "a#b"}', 422, ["activation_token"]),
        ("/completions", b'{"activation_token": "a%2fb"}', 422, ["activation_token"]),
        ("/completions", b'{"activation_token": "a\\u0000b"}', 422, ["activation_token"]),
        ("/completions", b'{"activation_token": "' + b"a" * 5000 + b'"}', 422, ["activation_token"]),
        ("/completions", b'{"activation_token": "a", "origin_id": "b"}', 422, ["origin_id"]),
    ],
)
async def test_an_invalid_body_is_a_problem_that_names_its_fields_and_kombo_is_not_called(
    path: str, body: bytes, status: int, fields: list[str], sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        response = await client.post(f"/kombo{path}", headers=ADA | JSON, content=body)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["code"] == "invalid_request"
    assert problem["status"] == status
    assert [error["field"] for error in problem["errors"]] == fields
    assert all(error["reason"] for error in problem["errors"])
    assert sandbox.calls == {}


async def test_a_body_without_a_length_is_not_read_beyond_the_limit(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b"x" * 65536

    app, _ = make_host(kombo)
    async with running(app) as client:
        response = await client.post("/kombo/links", headers=ADA | JSON, content=endless())
    assert response.status_code == 413
    assert sent < 10
    assert sandbox.calls == {}


async def test_an_impossible_public_id_is_not_found(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, database_url: str
) -> None:
    app, _ = make_host(kombo, database_url=database_url, allow_disconnect=True)
    calls = [("GET", ""), ("POST", "/relink"), ("POST", "/setup-link"), ("DELETE", "")]
    async with running(app) as client:
        for public_id in ("%00", "a" * 21 + "%00", "%ED%A0%80", "%F0%9F%98%80", "a" * 4000):
            for method, path in calls:
                response = await client.request(method, f"/kombo/integrations/{public_id}{path}", headers=ADA)
                assert (response.status_code, response.json()["code"]) == (404, "integration_not_found")
    assert sandbox.calls == {}


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "json"])
async def test_other_content_types_than_json_are_rejected(
    content_type: str, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        response = await client.post(
            "/kombo/links", headers=ADA | {"Content-Type": content_type}, content=b"{}"
        )
    assert response.status_code == 415
    assert response.json()["code"] == "invalid_request"
    assert sandbox.calls == {}


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({"Content-Type": "application/json"}, b""),
        ({"Content-Type": "application/json; charset=utf-8"}, b"{}"),
        ({"Content-Type": "Application/JSON"}, b" {} "),
        ({"Content-Type": "application/json"}, b'{"integration_tool": null, "language": null}'),
    ],
)
async def test_an_empty_body_requests_the_default_link(
    headers: dict[str, str], body: bytes, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        assert (await client.post("/kombo/links", headers=ADA | headers, content=body)).status_code == 200


async def test_the_browser_chooses_within_the_allowed_tools_and_categories(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo, allowed_tools="personio,hibob", allowed_categories="HRIS,ATS")
    async with running(app) as client:
        refused = await client.post(
            "/kombo/links",
            headers=ADA,
            json={"integration_tool": "workday", "integration_category": "LMS"},
        )
        assert refused.status_code == 422
        assert {error["field"] for error in refused.json()["errors"]} == {
            "integration_tool",
            "integration_category",
        }
        # Without a tool, the end user could choose any tool on Kombo's page.
        assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 422
        assert sandbox.calls == {}
        allowed = {"integration_tool": "hibob", "integration_category": "ATS"}
        assert (await client.post("/kombo/links", headers=ADA, json=allowed)).status_code == 200


async def test_the_only_allowed_tool_is_preset(sandbox: Sandbox, kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo, allowed_tools="hibob")
    async with running(app) as client:
        link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        assert (await sandbox.complete(link)).integration_id.startswith("hibob:")


async def test_unknown_paths_and_methods_are_problems_and_are_checked_first(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        missing = await client.post("/kombo/nowhere", headers={"Sec-Fetch-Site": "cross-site"})
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
        method = await client.get("/kombo/links", headers={"Sec-Fetch-Site": "cross-site"})
        assert (method.status_code, method.json()["code"]) == (405, "method_not_allowed")
        assert method.headers["allow"] == "POST"
        assert (await client.get("/kombo/")).json()["code"] == "not_found"


async def test_the_checks_run_in_their_documented_order(kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo)
    cross, plain = {"Sec-Fetch-Site": "cross-site"}, {"Content-Type": "text/plain"}
    async with running(app) as client:

        async def code(headers: dict[str, str], body: bytes) -> tuple[int, str]:
            response = await client.post("/kombo/links", headers=headers, content=body)
            return response.status_code, response.json()["code"]

        large = b"x" * 300_000
        assert await code(cross | plain, large) == (403, "cross_origin")
        assert await code(plain, large) == (401, "unauthenticated")
        assert await code(ADA | plain, large) == (415, "invalid_request")
        assert await code(ADA | JSON, large) == (413, "invalid_request")
        assert await code(ADA | JSON, b"{") == (400, "invalid_request")
        assert await code(ADA | JSON, b'{"x":1}') == (422, "invalid_request")


async def test_requests_to_webhooks_are_not_checked_for_their_origin(kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        response = await client.post(
            "/kombo/webhooks", headers={"Sec-Fetch-Site": "cross-site"}, content=b"{}"
        )
    assert response.json()["code"] == "webhook_rejected"


async def test_a_repeated_small_body_is_parsed_to_the_same_choice(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo)
    bodies = [{"language": "de"}, {"language": "fr"}, {"language": "xx"}] * 2
    async with running(app) as client:
        responses = [await client.post("/kombo/links", headers=ADA, json=body) for body in bodies]
    assert [response.status_code for response in responses] == [200, 200, 422] * 2
    assert responses[0].json() == responses[3].json() != responses[1].json()
    assert minted(sandbox) == 2


async def test_of_many_unknown_fields_ten_are_reported(kombo: httpx.AsyncBaseTransport) -> None:
    body = {"fresh": "yes", "link_type": "MAGIC_LINK"} | {f"f{number}": number for number in range(600)}
    app, _ = make_host(kombo)
    async with running(app) as client:
        response = await client.post("/kombo/links", headers={"x-person": "ada@acme"}, json=body)
    problem = response.json()
    assert (response.status_code, len(problem["errors"]), len(response.content) < 2000) == (422, 10, True)
    assert [error["field"] for error in problem["errors"][:3]] == ["fresh", "link_type", "f0"]


@pytest.mark.parametrize("value", ["[]", "1", "null", '"text"', "NaN", "{" * 4000, '{"a":' * 1000])
async def test_what_is_not_an_object_is_refused_with_one_error(
    kombo: httpx.AsyncBaseTransport, value: str
) -> None:
    app, _ = make_host(kombo)
    headers = {"x-person": "ada@acme", "content-type": "application/json"}
    async with running(app) as client:
        response = await client.post("/kombo/links", headers=headers, content=value)
    assert response.status_code in {400, 422}
    assert [error["field"] for error in response.json()["errors"]] == ["body"]
