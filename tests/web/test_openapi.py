"""``GET /openapi.json``: every operation is called, and its responses are validated against the document."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import pytest
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import validate

from kombo_embed.errors import KomboEmbedError
from kombo_embed.integration import Integration
from kombo_embed.kombo.webhooks import sign
from kombo_embed.sandbox import Sandbox
from kombo_embed.web.openapi import openapi_document
from kombo_embed.web.problems import STATUSES
from kombo_embed.web.routes import OPERATIONS, Operation
from kombo_embed.web.schemas import KomboIntegration, serialize_integration
from tests.support import (
    WEBHOOK_SECRET,
    ManualClock,
    end_user_from_header,
    make_host,
    order_fault,
    person,
    running,
)

ADA, GRACE = person("ada@acme"), person("grace@acme")
JSON = {"Content-Type": "application/json"}
# Only the fields that an event must have.
MINIMAL_EVENT = (
    b'{"id":"e","type":"integration-created",'
    b'"data":{"id":"hibob:1","tool":"hibob","end_user":{"origin_id":"acme"}}}'
)


def operation_at(document: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    parts = path.removeprefix("/kombo").split("?", maxsplit=1)[0].split("/")
    if parts[1] == "integrations" and len(parts) > 2:
        parts[2] = "{id}"
    operation: dict[str, Any] = document["paths"]["/".join(parts)][method.lower()]
    return operation


def validate_response(document: dict[str, Any], response: httpx.Response) -> dict[str, Any]:
    """Validate a response against the document; return the document's description of it."""
    operation = operation_at(document, response.request.method, response.request.url.path)
    described: dict[str, Any] = operation["responses"][str(response.status_code)]
    for name, header in described.get("headers", {}).items():
        value: Any = response.headers[name]
        kind = header["schema"].get("type")
        validate_value(document, header["schema"], int(value) if kind == "integer" else value)
    if "content" not in described:
        assert response.content == b""
        return described
    media_type = response.headers["content-type"].partition(";")[0]
    assert list(described["content"]) == [media_type]
    schema = described["content"][media_type]["schema"]
    validate_value(document, schema, response.text if media_type == "text/javascript" else response.json())
    return described


def validate_value(document: dict[str, Any], schema: dict[str, Any], value: object) -> None:
    whole = {**schema, "components": closed(document["components"])}
    OAS31Validator(whole, format_checker=oas31_format_checker).validate(value)


def closed(components: dict[str, Any]) -> dict[str, Any]:
    """Return the schemas without additional properties, so that undocumented fields are errors."""
    schemas = {
        name: schema
        if schema.get("additionalProperties") or "anyOf" in schema
        else {**schema, "additionalProperties": False}
        for name, schema in components["schemas"].items()
    }
    return {"schemas": schemas}


def test_the_document_is_valid_and_has_every_operation() -> None:
    document = openapi_document()
    validate(document)
    documented = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert documented == {(operation.method, operation.path) for operation in OPERATIONS}
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    assert len({operation["operationId"] for operation in operations}) == len(OPERATIONS)
    assert all(operation["summary"] for operation in operations)
    assert json.loads(json.dumps(document)) == document


def test_every_schema_is_used_and_every_reference_resolves() -> None:
    document = openapi_document()
    text = json.dumps(document)
    for name in document["components"]["schemas"]:
        assert f'"#/components/schemas/{name}"' in text
    assert text.count('"$ref"') == sum(
        text.count(f'"#/components/schemas/{name}"') for name in document["components"]["schemas"]
    )


async def test_it_is_served_with_an_entity_tag_and_without_absolute_urls(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        served = await client.get("/kombo/openapi.json", headers={"Host": "evil.test"})
        again = await client.get("/kombo/openapi.json", headers={"If-None-Match": served.headers["etag"]})
    assert served.json() == json.loads(json.dumps(openapi_document()))
    assert served.headers["content-type"] == "application/json"
    assert served.json()["servers"] == [{"url": "."}]
    assert "://" not in served.text
    assert (again.status_code, again.content) == (304, b"")


async def test_every_success_matches_the_document(sandbox: Sandbox, kombo: httpx.AsyncBaseTransport) -> None:
    document = openapi_document()
    app, _ = make_host(kombo, allow_disconnect=True, enable_field_mapping=True)
    seen: set[tuple[str, str]] = set()

    async def call(method: str, path: str, **sent: Any) -> Any:
        response = await client.request(method, f"/kombo{path}", **{"headers": ADA, **sent})
        assert response.is_success, response.text
        validate_response(document, response)
        seen.add((operation_at(document, method, f"/kombo{path}")["operationId"], str(response.status_code)))
        if "etag" in response.headers:
            tag = {"If-None-Match": response.headers["etag"]}
            unchanged = await client.request(method, f"/kombo{path}", headers=ADA | tag)
            assert unchanged.status_code == 304
            validate_response(document, unchanged)
            seen.add((operation_at(document, method, f"/kombo{path}")["operationId"], "304"))
        return response.json() if response.headers.get("content-type") == "application/json" else None

    signature = {"X-Kombo-Signature": sign(MINIMAL_EVENT, WEBHOOK_SECRET)}
    async with running(app) as client:
        for plain in ("/integrations", "/tools?category=ATS", "/openapi.json", "/health"):
            await call("GET", plain)
        for module in ("/kombo-embed.js", "/kombo-integrations.js"):
            await call("GET", module)
        await call("POST", "/links", json={"integration_tool": "personio", "prefetch": True})
        for _ in range(2):
            link = await call("POST", "/links", json={"integration_tool": "personio"})
        flow = await sandbox.complete(link["link"], "personio")
        token = {"activation_token": flow.activation_token}
        for _ in range(2):
            done = await call("POST", "/completions", json=token)
        one = f"/integrations/{done['integration']['id']}"
        async with asyncio.timeout(10):  # the details are read after the completion
            while (await client.get(f"/kombo{one}", headers=ADA)).json()["integration"]["status"] is None:  # noqa: ASYNC110 - it happens behind a transport
                await asyncio.sleep(0.01)
        await call("GET", "/integrations")
        await call("GET", "/tools")
        await call("GET", one)
        await call("POST", f"{one}/relink", json={"language": "de"})
        await call("POST", f"{one}/setup-link")
        await call("DELETE", one)
        await call("POST", "/webhooks", headers=signature, content=MINIMAL_EVENT)
        [minimal] = (await call("GET", "/integrations"))["integrations"]
        assert minimal["category"] is minimal["status"] is minimal["setup_status"] is None
    documented = {
        (operation["operationId"], status)
        for item in document["paths"].values()
        for operation in item.values()
        for status in operation["responses"]
        if int(status) < 400
    }
    assert seen == documented


BODIES = [operation for operation in OPERATIONS if operation.body is not None]


@pytest.mark.parametrize("operation", BODIES, ids=lambda operation: operation.path)
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
async def test_problems_of_bodies_match_the_document(
    headers: dict[str, str], body: bytes, status: int, operation: Operation, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo)
    path = f"/kombo{operation.path}".replace("{id}", "unknown")
    async with running(app) as client:
        response = await client.request(operation.method, path, headers=headers, content=body)
    assert response.status_code == status
    assert f"`{response.json()['code']}`" in validate_response(openapi_document(), response)["description"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [("unauthorized", 502), ("rate_limited", 503), ("foreign_json", 502), ("input_invalid", 422)],
)
async def test_problems_from_kombo_match_the_document(
    fault: str, status: int, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo)
    await order_fault(sandbox, "/connect/create-link", fault, times=5)
    async with running(app) as client:
        response = await client.post("/kombo/links", headers=ADA, json={"integration_tool": "personio"})
    assert response.status_code == status
    described = validate_response(openapi_document(), response)
    assert f"`{response.json()['code']}`" in described["description"]


async def test_the_other_problems_match_the_document(kombo: httpx.AsyncBaseTransport) -> None:
    document = openapi_document()
    app, _ = make_host(kombo, clock=ManualClock(), link_rate="1/minute", end_user=end_user_that_may_fail)
    async with running(app) as client:
        assert (await posted(client, "/links")).is_success
        problems = [
            (429, await posted(client, "/links", json={"fresh": True})),
            (404, await client.get("/kombo/integrations/x", headers=ADA)),
            (404, await client.post("/kombo/integrations/x/relink", headers=GRACE, json={})),
            (403, await client.delete("/kombo/integrations/x", headers=ADA)),
            (422, await client.get("/kombo/tools?category=PAYROLL", headers=ADA)),
            (422, await posted(client, "/completions", json={"activation_token": "made-up"})),
            (401, await posted(client, "/webhooks", content=b"{}")),
            (500, await client.get("/kombo/integrations", headers=person("broken"))),
        ]
    for status, response in problems:
        assert response.status_code == status
        assert f"`{response.json()['code']}`" in validate_response(document, response)["description"]


async def posted(client: httpx.AsyncClient, path: str, **sent: Any) -> httpx.Response:
    return await client.post(f"/kombo{path}", headers=ADA, **sent)


def end_user_that_may_fail(connection: Any) -> Any:
    return 7 if connection.headers.get("x-person") == "broken" else end_user_from_header(connection)


def test_every_problem_belongs_to_some_operation() -> None:
    documented: set[type[KomboEmbedError]] = {
        kind for operation in OPERATIONS for kind in operation.all_problems
    }
    # These belong to no operation: unknown paths and methods, and a server without settings.
    others = {"RouteNotFound", "MethodNotAllowed", "ConfigurationError"}
    assert {kind.__name__ for kind in STATUSES} - {kind.__name__ for kind in documented} == others


def test_an_integration_is_serialized_with_exactly_the_fields_of_its_schema() -> None:
    moment = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    integration = Integration(
        integration_id="personio:x",
        public_id="public",
        origin_id="acme",
        tool="personio",
        category=None,
        organization_name="Acme",
        email="ada@acme.example",
        status=None,
        setup_status=None,
        connected_at=moment,
        updated_at=moment,
    )
    serialized = serialize_integration(integration)
    assert set(serialized) == set(KomboIntegration.model_fields)
    assert (serialized["id"], serialized["connected_at"]) == ("public", "2026-01-01T10:00:00Z")
    assert "personio:x" not in str(serialized)


def test_the_document_states_which_form_an_activation_token_has() -> None:
    """Found by generated requests: it allowed any text, of which most is refused."""
    field = openapi_document()["components"]["schemas"]["CompletionBody"]["properties"]["activation_token"]
    assert re.search(field["pattern"], "eyJhbGciOiJIUzI1NiJ9.e30.x-_~=+:")
    for refused in ("", ".", "..", "a/b", "a b", "\u00e9", "a" * 4097):
        assert re.search(field["pattern"], refused) is None
