"""Builds the requests to Kombo: one function per endpoint. No I/O.

An id that is not of Kombo's form raises `IntegrationNotFound`, a token `InvalidRequest`. Sources: Kombo's
OpenAPI of ``POST /connect/create-link``, and docs.kombo.dev for the others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from kombo_embed.errors import FieldError, IntegrationNotFound, InvalidRequest
from kombo_embed.models import AnyLinkRequest, EndUser, LinkRequest, LinkType, RelinkRequest, SetupRequest

# Dots alone, slashes and the like would address another of Kombo's endpoints, with our key.
TOKEN = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~=+:-]{1,4096}")
INTEGRATION_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~:-]{1,255}")
RESPONSE_MAX_BYTES = 64 * 1024
LONG_RESPONSE_MAX_BYTES = 4 * 1024 * 1024  # lists of tools and models


@dataclass(frozen=True, slots=True)
class KomboRequest:
    """A request to Kombo: an encoded path below the base URL, and a JSON body if the endpoint takes one."""

    method: Literal["GET", "POST", "DELETE"]
    path: str = field(repr=False)
    body: dict[str, Any] | None = field(default=None, repr=False)
    response_max_bytes: int = RESPONSE_MAX_BYTES


def mint_link(end_user: EndUser, request: AnyLinkRequest, link_type: LinkType = "EMBEDDED") -> KomboRequest:
    """Build the request for a connection, reconnection or setup link."""
    match request:
        case LinkRequest():
            return _create_link(end_user, request, link_type)
        case RelinkRequest():
            body = {"language": request.language, "scope_config_id": request.scope_config_id}
            path = f"{_integration_path(request.integration_id)}/relink"
        case SetupRequest():
            body = {"language": request.language}
            path = f"{_integration_path(request.integration_id)}/setup-link"
    return KomboRequest("POST", path, _without_unset({**body, "link_type": link_type}))


def _create_link(end_user: EndUser, request: LinkRequest, link_type: LinkType) -> KomboRequest:
    # Category, language and link type are always sent, so that Kombo's defaults do not matter. Unset fields
    # are omitted, never null. Kombo documents that remote_environment requires a tool, enable_filtering HRIS.
    options = request.options
    body = {
        "end_user_email": end_user.email,
        "end_user_organization_name": end_user.organization_name,
        "end_user_origin_id": end_user.origin_id,
        "integration_category": request.category,
        "language": request.language,
        "link_type": link_type,
        "integration_tool": request.tool,
        "remote_environment": options.remote_environment if request.tool else None,
        "scope_config_id": options.scope_config_id,
        "enable_filtering": options.enable_filtering if request.category == "HRIS" else None,
        "enable_field_mapping": options.enable_field_mapping,
        "enable_static_ips": options.enable_static_ips,
    }
    return KomboRequest("POST", "/connect/create-link", _without_unset(body))


def integration_details(integration_id: str) -> KomboRequest:
    """Build the request for an integration's details."""
    return KomboRequest("GET", _integration_path(integration_id), response_max_bytes=LONG_RESPONSE_MAX_BYTES)


def delete_integration(integration_id: str) -> KomboRequest:
    """Build the request that deletes an integration for good. Kombo requires a JSON body, an empty one."""
    return KomboRequest("DELETE", _integration_path(integration_id), {})


def check_api_key() -> KomboRequest:
    """Build the request for the environment of the API key."""
    return KomboRequest("GET", "/check-api-key")


def list_tools(category: str) -> KomboRequest:
    """Build the request for the tools of a category."""
    return KomboRequest("GET", f"/tools/{category.lower()}", response_max_bytes=LONG_RESPONSE_MAX_BYTES)


def verify_token(activation_token: str) -> None:
    """Raise `InvalidRequest` if an activation token does not have the form of Kombo's."""
    if TOKEN.fullmatch(activation_token) is None:
        raise InvalidRequest(
            "The activation token does not have the form of Kombo's.",
            FieldError("activation_token", "must be 1 to 4096 of A-Z a-z 0-9 . _ ~ = + : -"),
        )


def integration_by_token(activation_token: str) -> KomboRequest:
    """Build the request that exchanges an activation token for its integration."""
    verify_token(activation_token)
    return KomboRequest("GET", f"/connect/integration-by-token/{quote(activation_token, safe='')}")


def _without_unset(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def _integration_path(integration_id: str) -> str:
    if INTEGRATION_ID.fullmatch(integration_id) is None:
        raise IntegrationNotFound("There is no such integration.")
    return f"/integrations/{quote(integration_id, safe='')}"
