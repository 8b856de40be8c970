"""What ``GET /openapi.json`` says is so: each call is made, and its answers are held against it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import validate

from kombo_embed.errors import KomboEmbedError
from kombo_embed.kombo.webhooks import sign
from kombo_embed.sandbox import Sandbox
from kombo_embed.web.openapi import openapi_document
from kombo_embed.web.problems import STATUSES
from kombo_embed.web.routes import OPERATIONS, Operation
from tests.support import (
    WEBHOOK_SECRET,
    ManualClock,
    make_host,
    order_fault,
    person,
    running,
    who_the_header_names,
)

ADA = person("ada@acme")
JSON = {"Content-Type": "application/json"}
# All that Kombo must tell of an integration, and no more.
BARELY_KNOWN = (
    b'{"id":"e","type":"integration-created",'
    b'"data":{"id":"hibob:1","tool":"hibob","end_user":{"origin_id":"acme"}}}'
)


def operation_at(document: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    parts = path.removeprefix("/kombo").split("?", maxsplit=1)[0].split("/")
    if parts[1] == "integrations" and len(parts) > 2:
        parts[2] = "{id}"
    operation: dict[str, Any] = document["paths"]["/".join(parts)][method.lower()]
    return operation


def verify(document: dict[str, Any], answer: httpx.Response) -> dict[str, Any]:
    """Hold an answer against the document; its description."""
    operation = operation_at(document, answer.request.method, answer.request.url.path)
    described: dict[str, Any] = operation["responses"][str(answer.status_code)]
    for name, header in described.get("headers", {}).items():
        value: Any = answer.headers[name]
        kind = header["schema"].get("type")
        is_valid(document, header["schema"], int(value) if kind == "integer" else value)
    if "content" not in described:
        assert answer.content == b""
        return described
    media_type = answer.headers["content-type"].partition(";")[0]
    assert list(described["content"]) == [media_type]
    schema = described["content"][media_type]["schema"]
    is_valid(document, schema, answer.text if media_type == "text/javascript" else answer.json())
    return described


def is_valid(document: dict[str, Any], schema: dict[str, Any], value: object) -> None:
    whole = {**schema, "components": closed(document["components"])}
    OAS31Validator(whole, format_checker=oas31_format_checker).validate(value)


def closed(components: dict[str, Any]) -> dict[str, Any]:
    """The schemas, where what they do not name is an error: an answer with more than is told is found."""
    schemas = {
        name: schema if schema.get("additionalProperties") else {**schema, "additionalProperties": False}
        for name, schema in components["schemas"].items()
    }
    return {"schemas": schemas}


def test_it_is_valid_and_has_every_call() -> None:
    document = openapi_document()
    validate(document)
    told = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert told == {(call.method, call.path) for call in OPERATIONS}
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    assert len({operation["operationId"] for operation in operations}) == len(OPERATIONS)
    assert all(operation["summary"] for operation in operations)
    assert json.loads(json.dumps(document)) == document


def test_no_schema_is_left_over_and_all_that_are_named_are_there() -> None:
    document = openapi_document()
    text = json.dumps(document)
    for name in document["components"]["schemas"]:
        assert f'"#/components/schemas/{name}"' in text
    assert text.count('"$ref"') == sum(
        text.count(f'"#/components/schemas/{name}"') for name in document["components"]["schemas"]
    )


async def test_it_is_served_with_a_tag_and_names_no_absolute_url(kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        served = await client.get("/kombo/openapi.json", headers={"Host": "evil.test"})
        again = await client.get("/kombo/openapi.json", headers={"If-None-Match": served.headers["etag"]})
    assert served.json() == json.loads(json.dumps(openapi_document()))
    assert served.headers["content-type"] == "application/json"
    assert served.json()["servers"] == [{"url": "."}]
    assert "://" not in served.text
    assert (again.status_code, again.content) == (304, b"")


async def test_every_success_is_as_it_is_told(sandbox: Sandbox, kombo: httpx.AsyncBaseTransport) -> None:
    document = openapi_document()
    app, _ = make_host(kombo, allow_disconnect=True, enable_field_mapping=True)
    seen: set[tuple[str, str]] = set()

    async def call(method: str, path: str, **sent: Any) -> Any:
        answer = await client.request(method, f"/kombo{path}", **{"headers": ADA, **sent})
        assert answer.is_success, answer.text
        verify(document, answer)
        seen.add((operation_at(document, method, f"/kombo{path}")["operationId"], str(answer.status_code)))
        if "etag" in answer.headers:
            tag = {"If-None-Match": answer.headers["etag"]}
            unchanged = await client.request(method, f"/kombo{path}", headers=ADA | tag)
            assert unchanged.status_code == 304
            verify(document, unchanged)
            seen.add((operation_at(document, method, f"/kombo{path}")["operationId"], "304"))
        return answer.json() if answer.headers.get("content-type") == "application/json" else None

    signature = {"X-Kombo-Signature": sign(BARELY_KNOWN, WEBHOOK_SECRET)}
    async with running(app) as client:
        for plain in ("/integrations", "/tools?category=ATS", "/kombo-embed.js", "/openapi.json", "/health"):
            await call("GET", plain)
        for _ in range(2):
            link = await call("POST", "/links", json={"integration_tool": "personio"})
        flow = await sandbox.complete(link["link"], "personio")
        token = {"activation_token": flow.activation_token}
        for _ in range(2):
            done = await call("POST", "/completions", json=token)
        one = f"/integrations/{done['integration']['id']}"
        async with asyncio.timeout(10):  # the details, which are asked for after the completion
            while (await client.get(f"/kombo{one}", headers=ADA)).json()["integration"]["status"] is None:  # noqa: ASYNC110 - beyond a transport
                await asyncio.sleep(0.01)
        await call("GET", "/integrations")
        await call("GET", "/tools")
        await call("GET", one)
        await call("POST", f"{one}/relink", json={"language": "de"})
        await call("POST", f"{one}/setup-link")
        await call("DELETE", one)
        await call("POST", "/webhooks", headers=signature, content=BARELY_KNOWN)
        [barely_known] = (await call("GET", "/integrations"))["integrations"]
        assert barely_known["category"] is barely_known["status"] is barely_known["setup_status"] is None
    told = {
        (operation["operationId"], status)
        for item in document["paths"].values()
        for operation in item.values()
        for status in operation["responses"]
        if int(status) < 400
    }
    assert seen == told


BODIES = [call for call in OPERATIONS if call.body is not None]


@pytest.mark.parametrize("call", BODIES, ids=lambda call: call.path)
@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"", 401),
        ({"Sec-Fetch-Site": "cross-site"}, b"", 403),
        (ADA | JSON, b"{", 400),
        (ADA | JSON, b"x" * 300_000, 413),
        (ADA, b"{}", 415),
        (ADA | JSON, b'{"unknown":1}', 422),
    ],
)
async def test_the_refusals_of_bodies_are_as_they_are_told(
    headers: dict[str, str], body: bytes, status: int, call: Operation, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo)
    path = f"/kombo{call.path}".replace("{id}", "unknown")
    async with running(app) as client:
        answer = await client.request(call.method, path, headers=headers, content=body)
    assert answer.status_code == status
    assert f"`{answer.json()['code']}`" in verify(openapi_document(), answer)["description"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [("unauthorized", 502), ("rate_limited", 503), ("foreign_json", 502), ("input_invalid", 422)],
)
async def test_kombos_failures_are_as_they_are_told(
    fault: str, status: int, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo)
    await order_fault(sandbox, "/connect/create-link", fault, times=5)
    async with running(app) as client:
        answer = await client.post("/kombo/links", headers=ADA, json={"integration_tool": "personio"})
    assert answer.status_code == status
    described = verify(openapi_document(), answer)
    assert f"`{answer.json()['code']}`" in described["description"]


async def test_the_other_refusals_are_as_they_are_told(kombo: httpx.AsyncBaseTransport) -> None:
    document = openapi_document()
    app, _ = make_host(kombo, clock=ManualClock(), link_rate="1/minute", end_user=broken_for_some)
    async with running(app) as client:
        assert (await posted(client, "/links")).is_success
        refusals = [
            (429, await posted(client, "/links", json={"fresh": True})),
            (404, await client.get("/kombo/integrations/x", headers=ADA)),
            (404, await posted(client, "/integrations/x/relink")),
            (403, await client.delete("/kombo/integrations/x", headers=ADA)),
            (422, await client.get("/kombo/tools?category=PAYROLL", headers=ADA)),
            (422, await posted(client, "/completions", json={"activation_token": "made-up"})),
            (401, await posted(client, "/webhooks", content=b"{}")),
            (500, await client.get("/kombo/integrations", headers=person("broken"))),
        ]
    for status, answer in refusals:
        assert answer.status_code == status
        assert f"`{answer.json()['code']}`" in verify(document, answer)["description"]


async def posted(client: httpx.AsyncClient, path: str, **sent: Any) -> httpx.Response:
    return await client.post(f"/kombo{path}", headers=ADA, **sent)


def broken_for_some(connection: Any) -> Any:
    return 7 if connection.headers.get("x-person") == "broken" else who_the_header_names(connection)


def test_every_problem_that_a_browser_can_meet_stands_at_some_call() -> None:
    told: set[type[KomboEmbedError]] = {kind for call in OPERATIONS for kind in call.all_problems}
    # These are of no call: any path, any method, or a server that is not set up.
    elsewhere = {"RouteNotFound", "MethodNotAllowed", "ConfigurationError"}
    assert {kind.__name__ for kind in STATUSES} - {kind.__name__ for kind in told} == elsewhere
