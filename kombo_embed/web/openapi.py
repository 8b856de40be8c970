"""The operations in OpenAPI 3.1: as a document of our own, and in parts for a host's document."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from kombo_embed._version import __version__
from kombo_embed.errors import KomboEmbedError, RetryLater
from kombo_embed.integration import NEXT_ACTIONS
from kombo_embed.kombo.webhooks import SIGNATURE_HEADER
from kombo_embed.models import Category
from kombo_embed.web.endpoints import list_integrations, list_tools
from kombo_embed.web.problems import MEDIA_TYPE, STATUSES
from kombo_embed.web.queries import PAGE_MAX_SIZE
from kombo_embed.web.routes import OPERATIONS, Operation, ResponseContent
from kombo_embed.web.schemas import KomboLink, KomboLinkResponse, KomboProblem
from kombo_embed.web.webhook_endpoint import receive_webhook

COMPONENTS = "#/components/schemas/{model}"
STRING = {"type": "string"}
DESCRIPTION = (
    "The API that a page calls to connect tools for its signed-in end user. The application's own login "
    "identifies the end user; without a login, operations respond with 401. Operations that change something "
    "refuse pages of origins that are not allowed."
)
ToSchema = Callable[[type[BaseModel]], dict[str, Any]]


@functools.cache  # it does not depend on settings, and its schemas take longer than the rest of a start
def openapi_document() -> dict[str, Any]:
    """Return the document of all operations; its paths are relative to where it is served."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "kombo-embed", "version": __version__, "description": DESCRIPTION},
        "servers": [{"url": "."}],
        "paths": paths,
        "components": {"schemas": _schemas()},
    }


def describe_request(operation: Operation, to_schema: ToSchema) -> dict[str, Any]:
    """Return the parameters and the request body of an operation."""
    described: dict[str, Any] = {}
    parameters = list(_parameters(operation))
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        required = any(field.is_required() for field in operation.body.model_fields.values())
        content = {"application/json": {"schema": to_schema(operation.body)}}
        described["requestBody"] = {"required": required, "content": content}
    if operation.endpoint is receive_webhook:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": {}}}}
    return described


def describe_success(operation: Operation, status: int, to_schema: ToSchema | None = None) -> dict[str, Any]:
    """Return one successful response; without ``to_schema``, the schema is left to FastAPI."""
    content = operation.responses[status]
    described: dict[str, Any] = {"description": _description(content), "headers": _headers(operation)}
    if isinstance(content, str):
        schema = {"type": "object"} if content == "application/json" else STRING
        described["content"] = {content: {"schema": schema}}
    elif content is not None and to_schema is not None:
        described["content"] = {"application/json": {"schema": to_schema(content)}}
    return described


def describe_other_responses(operation: Operation, *more: type[KomboEmbedError]) -> dict[str, Any]:
    """Return the response 304, and the problems of an operation and of these errors, by status."""
    by_status: dict[int, list[type[KomboEmbedError]]] = {}
    for kind in (*operation.all_problems, *more):
        by_status.setdefault(STATUSES[kind], []).append(kind)
    described: dict[str, Any] = {}
    if operation.has_etag:
        not_modified = "If-None-Match names the current ETag."
        described["304"] = {"description": not_modified, "headers": _headers(operation)}
    for status in sorted(by_status.keys() - operation.responses):
        described[str(status)] = _problem(by_status[status])
    return described


def _describe(operation: Operation) -> dict[str, Any]:
    statuses = operation.responses
    described = describe_request(operation, _reference) | {
        "operationId": operation.endpoint.__name__,
        "summary": operation.summary,
        "responses": {str(status): describe_success(operation, status, _reference) for status in statuses}
        | describe_other_responses(operation),
    }
    if not operation.signed_in:
        described["security"] = []
    return described


def _problem(kinds: list[type[KomboEmbedError]]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": " ".join(dict.fromkeys(f"`{kind.code}`: {_first_line(kind)}" for kind in kinds)),
        "content": {MEDIA_TYPE: {"schema": _reference(KomboProblem)}},
    }
    if any(issubclass(kind, RetryLater) for kind in kinds):
        described["headers"] = {"Retry-After": _header("Seconds.", type="integer", minimum=1)}
    return described


def _description(content: ResponseContent) -> str:
    if content is None:
        return "Done."
    if isinstance(content, str):
        return "The file."
    return _first_line(content)


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


def _headers(operation: Operation) -> dict[str, Any]:
    """Return the headers of success that callers can use."""
    if operation.has_etag:
        return {"ETag": _header("For If-None-Match.")}
    if {KomboLink, KomboLinkResponse} & set(operation.responses.values()):
        return {"Cache-Status": _header("What the link cache did (RFC 9211).")}
    return {}


def _parameters(operation: Operation) -> Iterable[dict[str, Any]]:
    if "{id}" in operation.path:
        required = {"name": "id", "in": "path", "required": True, "schema": STRING}
        yield required | {"description": "Our public id."}
    if operation.has_etag:
        yield {"name": "If-None-Match", "in": "header", "schema": STRING, "description": "Known ETags."}
    if operation.endpoint is list_integrations:
        limit = {"type": "integer", "minimum": 1, "maximum": PAGE_MAX_SIZE, "default": PAGE_MAX_SIZE}
        yield {"name": "limit", "in": "query", "schema": limit}
        yield {"name": "cursor", "in": "query", "schema": STRING, "description": "A page's next_cursor."}
        actions = {"type": "array", "items": {"enum": list(NEXT_ACTIONS)}, "minItems": 1}
        comma_separated = {"style": "form", "explode": False}
        yield {"name": "next_action", "in": "query", "schema": actions, **comma_separated}
    if operation.endpoint is list_tools:
        yield {"name": "category", "in": "query", "schema": {"enum": list(get_args(Category))}}
    if operation.endpoint is receive_webhook:
        yield {"name": SIGNATURE_HEADER, "in": "header", "required": True, "schema": STRING}


def _header(description: str, **schema: object) -> dict[str, Any]:
    return {"description": description, "schema": schema or STRING}


def _reference(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": COMPONENTS.format(model=model.__name__)}


def _schemas() -> dict[str, Any]:
    contents = [content for operation in OPERATIONS for content in operation.responses.values()]
    responses = {content for content in contents if isinstance(content, type)}
    bodies = {operation.body for operation in OPERATIONS if operation.body is not None}
    name = attrgetter("__name__")
    sent = [(model, "serialization") for model in sorted(responses | {KomboProblem}, key=name)]
    received = [(model, "validation") for model in sorted(bodies, key=name)]
    _, schemas = models_json_schema([*sent, *received], ref_template=COMPONENTS)  # type: ignore[list-item]
    definitions: dict[str, Any] = schemas["$defs"]
    return definitions
