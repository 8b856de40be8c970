"""Kombo's responses: the two envelopes, and the `data` with every key that its published schema requires.

Sources: docs.kombo.dev/guides/errors and Kombo's OpenAPI document.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from kombo_embed.sandbox.catalogue import Tool, find_tool, read_json
from kombo_embed.sandbox.errors import ActivationUnknown, InputInvalid, IntegrationUnknown, KeyRejected
from kombo_embed.sandbox.records import EndUserRecord, Integration, Link
from kombo_embed.sandbox.schemas import Category

# Addresses from the range that is reserved for documentation (RFC 5737).
STATIC_IPS = ("192.0.2.10", "192.0.2.11")
_DEFAULT_SCOPE_ID = "9vRtKpQ2mXeYw7dZbN3sHc5J"

_NOT_FOUND = (404, "PLATFORM.INTEGRATION_NOT_FOUND", "The integration was not found.")
# Kombo does not document its response to an unusable activation token.
_ERRORS: dict[type[Exception], tuple[int, str, str]] = {
    InputInvalid: (400, "PLATFORM.INPUT_INVALID", "The request is not valid."),
    IntegrationUnknown: _NOT_FOUND,
    ActivationUnknown: _NOT_FOUND,
    KeyRejected: (401, "PLATFORM.AUTHENTICATION_INVALID", "The API key is not valid."),
}

_SUPPORTED = {"coverage_status": "SUPPORTED"}
_ENABLED = _SUPPORTED | {
    "is_available": True,
    "scope_config_setting": "ENABLED",
    "opted_out_by_customer": False,
}


def success(data: Mapping[str, object]) -> JSONResponse:
    """Return a 200, the only success that Kombo has."""
    return JSONResponse({"status": "success", "data": data})


def failure(
    status: int,
    message: str,
    *,
    code: str | None = None,
    title: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return an error with all four keys; only the message is never null."""
    error = {"code": code, "title": title, "message": message, "log_url": None}
    return JSONResponse({"status": "error", "error": error}, status, headers)


async def handle_error(_request: Request, error: Exception) -> JSONResponse:
    """Return the API's response to an error, as an exception handler."""
    if isinstance(error, HTTPException):
        return failure(error.status_code, error.detail, headers=error.headers)
    status, code, title = _ERRORS.get(type(error), (500, "PLATFORM.UNKNOWN_ERROR", "Something went wrong."))
    return failure(status, str(error), code=code, title=title)


def link_data(link: Link) -> dict[str, object]:
    """Return the data of create-link, relink and setup-link. Kombo's contains no expiry."""
    data: dict[str, object] = {"link": link.url}
    if link.terms.options.static_ips:
        data["static_ips"] = STATIC_IPS
    return data


def activation_data(integration: Integration) -> dict[str, object]:
    """Return the data of integration-by-token: flat names, no category."""
    return {
        "id": integration.id,
        "tool": integration.tool,
        "end_user_origin_id": integration.end_user.origin_id,
        "end_user_organization_name": integration.end_user.organization_name,
        "end_user_email": integration.end_user.email,
        "setup_status": integration.setup_status,
    }


def integration_data(integration: Integration, base_url: str) -> dict[str, object]:
    """Return the data of an integration's details: nested names."""
    tool = find_tool(integration.tool)
    icon = _icon_url(tool, base_url)
    scope_id = integration.options.scope_config_id
    return {
        "id": integration.id,
        "tool": {
            "id": tool.id,
            "label": tool.label,
            "internal_label": None,
            "logo_url": icon,
            "icon_url": icon,
        },
        "category": integration.category,
        "status": integration.status,
        "setup_status": integration.setup_status,
        "end_user": end_user_data(integration.end_user),
        "scope_config": {"id": scope_id or _DEFAULT_SCOPE_ID, "name": None if scope_id else "Default"},
        "data_expired_at": None,
        "created_at": timestamp(integration.created_at),
        "beta": False,
        **_models_data(integration.category, _ENABLED),
    }


def tool_data(tool: Tool, category: Category, base_url: str) -> dict[str, object]:
    """Return one entry of the list of tools."""
    icon = _icon_url(tool, base_url)
    return {
        "id": tool.id,
        "label": tool.label,
        "internal_label": None,
        "assets": {"logo_url": icon, "icon_url": icon, "icon_black_url": f"{icon}?black"},
        "paid_api_details_markdown": None,
        "fast_track_details_markdown": None,
        "partner_only_details_markdown": None,
        "connection_guide_url": None,
        "coverage": {**_models_data(category, _SUPPORTED), "features": []},
    }


def end_user_data(end_user: EndUserRecord) -> dict[str, str | None]:
    """Return the nested form of an end user, as in webhooks and in an integration's details."""
    return {
        "origin_id": end_user.origin_id,
        "creator_email": end_user.email,
        "organization_name": end_user.organization_name,
    }


def timestamp(moment: datetime) -> str:
    """Return a time in Kombo's form: UTC, with milliseconds and Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _icon_url(tool: Tool, base_url: str) -> str:
    return f"{base_url}/assets/tools/{tool.id}.svg"


def _models_data(category: Category, marks: Mapping[str, object]) -> dict[str, object]:
    return {
        kind: [
            {**model, **marks, "fields": [{"id": field, **marks} for field in model["fields"]]}
            for model in models
        ]
        for kind, models in read_json("models.json")[category].items()
    }
