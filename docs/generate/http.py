"""The reference of the HTTP routes, from the OpenAPI document."""

from __future__ import annotations

import re
from typing import Any

from kombo_embed.web.openapi import openapi_document

Schema = dict[str, Any]
INTRODUCTION = """\
# HTTP

The paths are below the mount path, `/kombo` by default. `GET /kombo/openapi.json` is the source of this page: OpenAPI 3.1, for
generators of clients. Bodies are JSON in UTF-8; an empty body means `{}`. Unknown fields are refused (422). Every response that
carries a link has `Cache-Control: no-store`, and `Cache-Status` (RFC 9211) reports what the link cache did.

Errors are problems of RFC 9457 with a stable `code`: [errors](../errors.md). The browser never states who the end user is; your
login does.
"""
PROBLEM = "application/problem+json"
CODE = re.compile(r"(?:^| )(`[a-z_]+`): ")  # of the problems that a description lists


def page() -> str:
    """Return the page."""
    document = openapi_document()
    schemas = document["components"]["schemas"]
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    table = ["| request | does |", "|---|---|"]
    table += [f"| `{method} {path}` | {operation['summary']} |" for method, path, operation in operations]
    sections = [_section(method, path, operation, schemas) for method, path, operation in operations]
    return "\n".join([INTRODUCTION, *table, "", *sections, *_objects(schemas)])


def _section(method: str, path: str, operation: Schema, schemas: Schema) -> str:
    parts = [f"## {method} {path}", "", f"{operation['summary']}."]
    if "description" in operation:
        parts += ["", operation["description"]]
    if "parameters" in operation:
        rows = [
            (one["name"], f"in the {one['in']}", one.get("description", ""))
            for one in operation["parameters"]
        ]
        parts += ["", *_rows(("parameter", "where", "meaning"), rows)]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body:
        parts += ["", "The body:", "", *_fields(_resolve(body, schemas))]
    responses = sorted(operation["responses"].items())
    parts += ["", "| response | meaning |", "|---|---|"]
    parts += [
        f"| {status} | {_meaning(one)} |"
        for status, one in responses
        if PROBLEM not in one.get("content", {})
    ]
    problems = [
        (status, one["description"]) for status, one in responses if PROBLEM in one.get("content", {})
    ]
    if problems:
        listed = (f"{status} {', '.join(CODE.findall(description))}" for status, description in problems)
        parts += ["", f"[Errors](../errors.md): {'; '.join(listed)}."]
    return "\n".join([*parts, ""])


def _objects(schemas: Schema) -> list[str]:
    """Return a section for each object that a response contains."""
    parts = ["## Objects", ""]
    for name, schema in sorted(schemas.items()):
        if not name.endswith("Body") and schema.get("properties"):
            parts += [f"### {name}", "", *_fields(schema), ""]
    return parts


def _fields(schema: Schema) -> list[str]:
    required = set(schema.get("required", ()))
    rows = [
        (name, _type(field) + ("" if name in required else ", optional"), field.get("description", ""))
        for name, field in schema.get("properties", {}).items()
    ]
    return _rows(("field", "type", "meaning"), rows)


def _type(field: Schema) -> str:
    if "$ref" in field:
        return f"`{field['$ref'].rpartition('/')[2]}`"
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    return str(field.get("const") or field.get("type", "any"))


def _resolve(schema: Schema, schemas: Schema) -> Schema:
    resolved: Schema = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return resolved


def _meaning(response: Schema) -> str:
    content = response.get("content", {}).get("application/json", {}).get("schema", {})
    model = f" `{content['$ref'].rpartition('/')[2]}`" if "$ref" in content else ""
    return _escaped(response["description"]) + model


def _rows(columns: tuple[str, ...], rows: list[tuple[str, str, str]]) -> list[str]:
    lines = [f"| `{name}` | {middle} | {_escaped(last)} |" for name, middle, last in rows]
    return [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}", *lines]


def _escaped(text: str) -> str:
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())
