"""The calls in OpenAPI 3.1: as a document of their own, and piece by piece for a host's document."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from kombo_embed._version import __version__
from kombo_embed.errors import (
    KomboEmbedError,
    KomboRateLimited,
    KomboUnavailable,
    RateLimited,
    StoreUnavailable,
)
from kombo_embed.kombo.webhooks import SIGNATURE_HEADER
from kombo_embed.models import Category
from kombo_embed.web.endpoints import list_tools, receive_webhook
from kombo_embed.web.problems import STATUSES
from kombo_embed.web.routes import OPERATIONS, Operation, Shape
from kombo_embed.web.schemas import KomboLink, KomboProblem

COMPONENTS = "#/components/schemas/{model}"
PROBLEM_TYPE = "application/problem+json"
TEXT = {"type": "string"}
WITH_RETRY_AFTER = (RateLimited, KomboRateLimited, KomboUnavailable, StoreUnavailable)
ABOUT = (
    "What a page calls to connect its signed-in end user's tools. Who that is, the application decides: "
    "calls need its own login, whatever that is, and answer 401 without it. Calls that change something are "
    "refused to pages of origins that are not allowed."
)
Ref = Callable[[type[BaseModel]], dict[str, Any]]


def openapi_document() -> dict[str, Any]:
    """All calls as a document; its paths are relative to where it was found."""
    paths: dict[str, dict[str, Any]] = {}
    for call in OPERATIONS:
        answers = {str(status): answer_of(call, status, _reference) for status in call.answers}
        operation = operation_of(call, _reference) | {
            "operationId": call.handler.__name__,
            "summary": call.summary,
            "responses": answers | not_modified(call) | problems_of(call),
        }
        if not call.signed_in:
            operation["security"] = []
        paths.setdefault(call.path, {})[call.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "kombo-embed", "version": __version__, "description": ABOUT},
        "servers": [{"url": "."}],
        "paths": paths,
        "components": {"schemas": _schemas()},
    }


def operation_of(call: Operation, ref: Ref) -> dict[str, Any]:
    """What a call takes: its parameters and its body."""
    operation: dict[str, Any] = {}
    parameters = list(_parameters(call))
    if parameters:
        operation["parameters"] = parameters
    if call.body is not None:
        required = any(field.is_required() for field in call.body.model_fields.values())
        content = {"application/json": {"schema": ref(call.body)}}
        operation["requestBody"] = {"required": required, "content": content}
    if call.handler is receive_webhook:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": {}}}}
    return operation


def answer_of(call: Operation, status: int, ref: Ref | None = None) -> dict[str, Any]:
    """One of a call's answers of success; without ``ref`` models are left to the host's document."""
    shape = call.answers[status]
    described: dict[str, Any] = {"description": _described(shape), "headers": _headers(call)}
    if isinstance(shape, str):
        schema = {"type": "object"} if shape == "application/json" else TEXT
        described["content"] = {shape: {"schema": schema}}
    elif shape is not None and ref is not None:
        described["content"] = {"application/json": {"schema": ref(shape)}}
    return described


def not_modified(call: Operation) -> dict[str, Any]:
    """The answer 304, where there is one."""
    if not call.tagged:
        return {}
    return {"304": {"description": "If-None-Match names what it still is.", "headers": _headers(call)}}


def problems_of(call: Operation, *more: type[KomboEmbedError]) -> dict[str, Any]:
    """The problems that a call may answer with, and these, by status."""
    by_status: dict[int, list[type[KomboEmbedError]]] = {}
    for kind in (*call.all_problems, *more):
        by_status.setdefault(STATUSES[kind], []).append(kind)
    return {
        str(status): _problem(kinds)
        for status, kinds in sorted(by_status.items())
        if status not in call.answers
    }


def _problem(kinds: list[type[KomboEmbedError]]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": " ".join(dict.fromkeys(f"`{kind.code}`: {_first_line(kind)}" for kind in kinds)),
        "content": {PROBLEM_TYPE: {"schema": _reference(KomboProblem)}},
    }
    if any(kind in WITH_RETRY_AFTER for kind in kinds):
        described["headers"] = {"Retry-After": _header("Seconds.", type="integer", minimum=1)}
    return described


def _described(shape: Shape) -> str:
    if shape is None:
        return "Done."
    if isinstance(shape, str):
        return "The file."
    return _first_line(shape)


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


def _headers(call: Operation) -> dict[str, Any]:
    """The headers of success that mean something to a caller."""
    if call.tagged:
        return {"ETag": _header("For If-None-Match.")}
    if KomboLink in call.answers.values():
        return {"Cache-Status": _header("What the link cache did (RFC 9211).")}
    return {}


def _parameters(call: Operation) -> Iterable[dict[str, Any]]:
    if "{id}" in call.path:
        yield {"name": "id", "in": "path", "required": True, "schema": TEXT, "description": "Our public id."}
    if call.tagged:
        yield {"name": "If-None-Match", "in": "header", "schema": TEXT, "description": "An ETag to compare."}
    if call.handler is list_tools:
        yield {"name": "category", "in": "query", "schema": {"enum": list(get_args(Category))}}
    if call.handler is receive_webhook:
        yield {"name": SIGNATURE_HEADER, "in": "header", "required": True, "schema": TEXT}


def _header(description: str, **schema: object) -> dict[str, Any]:
    return {"description": description, "schema": schema or TEXT}


def _reference(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": COMPONENTS.format(model=model.__name__)}


def _schemas() -> dict[str, Any]:
    answers = {shape for call in OPERATIONS for shape in call.answers.values() if isinstance(shape, type)}
    bodies = {call.body for call in OPERATIONS if call.body is not None}
    shapes = [(model, "serialization") for model in sorted(answers | {KomboProblem}, key=_name)]
    taken = [(model, "validation") for model in sorted(bodies, key=_name)]
    _, schemas = models_json_schema([*shapes, *taken], ref_template=COMPONENTS)  # type: ignore[list-item]
    definitions: dict[str, Any] = schemas["$defs"]
    return definitions


def _name(model: type[BaseModel]) -> str:
    return model.__name__
