"""What is sent to Kombo: one function for each endpoint that we use. No I/O.

Sources: Kombo's OpenAPI of ``POST /connect/create-link``, and docs.kombo.dev for the others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from kombo_embed.errors import FieldError, IntegrationNotFound, InvalidRequest
from kombo_embed.models import AnyLinkRequest, EndUser, LinkRequest, LinkType, RelinkRequest, SetupRequest

# Dots alone, slashes and the like would reach another of Kombo's endpoints with our key.
TOKEN = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~=+:-]{1,4096}")
INTEGRATION_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~:-]{1,255}")


@dataclass(frozen=True, slots=True)
class KomboRequest:
    """One call to Kombo: a path below the base URL, already encoded, and the JSON body, if it has one."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str = field(repr=False)
    body: dict[str, Any] | None = field(default=None, repr=False)


def mint_link(end_user: EndUser, request: AnyLinkRequest, link_type: LinkType = "EMBEDDED") -> KomboRequest:
    """Ask for a link of the kind that the request describes.

    Raises:
        IntegrationNotFound: The integration's id cannot be one of Kombo's; Kombo is not asked.
    """
    match request:
        case LinkRequest():
            return _create_link(end_user, request, link_type)
        case RelinkRequest():
            body = {"language": request.language, "scope_config_id": request.scope_config_id}
            path = f"{_integration(request.integration_id)}/relink"
        case SetupRequest():
            body = {"language": request.language}
            path = f"{_integration(request.integration_id)}/setup-link"
    return KomboRequest("POST", path, _given({**body, "link_type": link_type}))


def _create_link(end_user: EndUser, request: LinkRequest, link_type: LinkType) -> KomboRequest:
    # Category, language and link type are always said, so that a change of Kombo's defaults changes nothing
    # here. What is not set is left out, never null. remote_environment goes only with a tool and
    # enable_filtering only with HRIS, as Kombo documents.
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
    return KomboRequest("POST", "/connect/create-link", _given(body))


def integration_details(integration_id: str) -> KomboRequest:
    """Ask how an integration is.

    Raises:
        IntegrationNotFound: The id cannot be one of Kombo's; Kombo is not asked.
    """
    return KomboRequest("GET", _integration(integration_id))


def set_enabled(integration_id: str, *, enabled: bool) -> KomboRequest:
    """Switch an integration on or off; off stops its syncs and keeps its credentials.

    Raises:
        IntegrationNotFound: The id cannot be one of Kombo's; Kombo is not asked.
    """
    return KomboRequest("PUT", f"{_integration(integration_id)}/enabled", {"value": enabled})


def delete_integration(integration_id: str) -> KomboRequest:
    """Delete an integration for good. Kombo wants a JSON body, an empty one.

    Raises:
        IntegrationNotFound: The id cannot be one of Kombo's; Kombo is not asked.
    """
    return KomboRequest("DELETE", _integration(integration_id), {})


def check_api_key() -> KomboRequest:
    """Ask whose the API key is."""
    return KomboRequest("GET", "/check-api-key")


def list_tools(category: str) -> KomboRequest:
    """Ask for the tools of a category."""
    return KomboRequest("GET", f"/tools/{category.lower()}")


def integration_by_token(activation_token: str) -> KomboRequest:
    """Ask which integration an activation token stands for.

    Raises:
        InvalidRequest: The token holds something that has no place in one; Kombo is not asked.
    """
    if TOKEN.fullmatch(activation_token) is None:
        raise InvalidRequest(
            "The activation token is not one that Kombo gives out.",
            FieldError("activation_token", "must be 1 to 4096 of A-Z a-z 0-9 . _ ~ = + : -"),
        )
    return KomboRequest("GET", f"/connect/integration-by-token/{quote(activation_token, safe='')}")


def _given(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def _integration(integration_id: str) -> str:
    if INTEGRATION_ID.fullmatch(integration_id) is None:
        raise IntegrationNotFound("There is no such integration.")
    return f"/integrations/{quote(integration_id, safe='')}"
