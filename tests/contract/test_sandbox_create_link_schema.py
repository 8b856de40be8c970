"""The sandbox follows Kombo's published schema of `POST /connect/create-link`.

The table is taken from Kombo's OpenAPI document, "Create connection link".
"""

from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from kombo_embed.sandbox import Sandbox

STRING, NULLABLE, BOOLEAN = "string", "string or null", "boolean"
FIELDS: dict[str, dict[str, Any]] = {
    "end_user_email": {"type": STRING, "required": True, "example": "test@example.com"},
    "end_user_organization_name": {"type": STRING, "required": True, "example": "Test Inc."},
    "end_user_origin_id": {"type": NULLABLE, "example": "123"},
    "remote_environment": {"type": NULLABLE, "example": "staging"},
    "integration_category": {"type": STRING, "enum": ["HRIS", "ATS", "ASSESSMENT", "LMS"]},
    "integration_tool": {"type": NULLABLE, "example": "personio"},
    "language": {"type": NULLABLE, "enum": ["en", "de", "fr", "it", "es"]},
    "scope_config_id": {"type": NULLABLE, "example": "B1hu5NGyhdjSq5X3hxEz4bAN"},
    "enable_filtering": {"type": BOOLEAN},
    "enable_field_mapping": {"type": BOOLEAN},
    "link_type": {"type": STRING, "enum": ["EMBEDDED", "MAGIC_LINK"]},
}
ERROR_CODES = {
    None,
    "PLATFORM.RATE_LIMIT_EXCEEDED",
    "PLATFORM.CONCURRENCY_LIMIT_EXCEEDED",
    "PLATFORM.INTEGRATION_NOT_FOUND",
    "PLATFORM.INPUT_INVALID",
    "PLATFORM.UNKNOWN_ERROR",
    "PLATFORM.IP_NOT_WHITELISTED",
    "PLATFORM.AUTHENTICATION_INVALID",
    "PLATFORM.TASK_TIMED_OUT",
}
# The tool is there because a remote environment can only be given together with one.
LEAST = {
    "end_user_email": "test@example.com",
    "end_user_organization_name": "Test Inc.",
    "integration_tool": "personio",
}


def allowed_values(field: dict[str, Any]) -> list[object]:
    values: list[object] = [*field.get("enum", []), *([field["example"]] if "example" in field else [])]
    values += [True, False] if field["type"] == BOOLEAN else []
    return [*values, None] if field["type"] == NULLABLE else values


def refused_values(field: dict[str, Any]) -> list[object]:
    values: list[object] = [7, [], {}]
    values += ["not in the list"] if "enum" in field else []
    values += ["true"] if field["type"] == BOOLEAN else [True]
    return values if field["type"] == NULLABLE else [*values, None]


ALLOWED = [(name, value) for name, field in FIELDS.items() for value in allowed_values(field)]
REFUSED = [(name, value) for name, field in FIELDS.items() for value in refused_values(field)]


async def post(body: object) -> httpx.Response:
    transport = httpx.ASGITransport(Sandbox().app)
    headers = {"Authorization": "Bearer any"}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8001") as client:
        return await client.post("/v1/connect/create-link", json=body, headers=headers)


@pytest.mark.parametrize(("name", "value"), ALLOWED)
async def test_a_body_that_the_schema_allows_mints_a_link(name: str, value: object) -> None:
    body = LEAST | {name: value}
    if name == "integration_tool":
        body.pop("remote_environment", None)
    answer = await post(body)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json()["status"] == "success"
    assert urlsplit(answer.json()["data"]["link"]).scheme in {"http", "https"}


@pytest.mark.parametrize(("name", "value"), REFUSED)
async def test_a_body_that_the_schema_forbids_returns_an_error_of_the_schema(
    name: str, value: object
) -> None:
    answer = await post(LEAST | {name: value})
    body = answer.json()
    assert answer.status_code == 400
    assert body.keys() == {"status", "error"}
    assert body["status"] == "error"
    assert body["error"].keys() == {"code", "title", "message", "log_url"}
    assert body["error"]["code"] in ERROR_CODES
    assert isinstance(body["error"]["message"], str)


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.get("required")])
async def test_a_field_that_the_schema_requires_is_required(name: str) -> None:
    answer = await post({key: value for key, value in LEAST.items() if key != name})
    assert answer.json()["error"]["code"] == "PLATFORM.INPUT_INVALID"
