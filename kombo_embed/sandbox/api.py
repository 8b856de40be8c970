"""Kombo's API below `/v1`, as far as connecting tools needs it. Source: docs.kombo.dev, Kombo's OpenAPI."""

import secrets
from collections.abc import Awaitable, Callable
from typing import get_args

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kombo_embed.sandbox.answers import activation_data, integration_data, link_data, tool_data
from kombo_embed.sandbox.bodies import read_json
from kombo_embed.sandbox.connections import Connections
from kombo_embed.sandbox.envelopes import success
from kombo_embed.sandbox.errors import InputInvalid, KeyRejected
from kombo_embed.sandbox.fields import Choice, Email, Field, Flag, Text, Values, read_fields
from kombo_embed.sandbox.links import Links
from kombo_embed.sandbox.records import (
    Category,
    EndUserRecord,
    IntegrationOptions,
    Language,
    LinkKind,
    LinkTerms,
    LinkType,
)
from kombo_embed.sandbox.tools import tools_of

CATEGORIES: tuple[Category, ...] = get_args(Category)
ENVIRONMENT_ID = "sandbox-environment"

_LANGUAGE = Field(Choice(get_args(Language)), nullable=True)
_LINK_TYPE = Field(Choice(get_args(LinkType)))
_FLAG = Field(Flag())
_TEXT_OR_NULL = Field(Text(), nullable=True)

CREATE_LINK = {
    "end_user_email": Field(Email(), required=True),
    "end_user_organization_name": Field(Text(min_length=1), required=True),
    "end_user_origin_id": Field(Text(min_length=1), nullable=True),
    "remote_environment": _TEXT_OR_NULL,
    "integration_category": Field(Choice(CATEGORIES)),
    "integration_tool": Field(Text(min_length=1), nullable=True),
    "language": _LANGUAGE,
    "scope_config_id": _TEXT_OR_NULL,
    "enable_filtering": _FLAG,
    "enable_field_mapping": _FLAG,
    # Only the newest Kombo SDKs know this one; they send it always.
    "enable_static_ips": _FLAG,
    "link_type": _LINK_TYPE,
}
RELINK = {"language": _LANGUAGE, "scope_config_id": _TEXT_OR_NULL, "link_type": _LINK_TYPE}
SETUP_LINK = {"language": _LANGUAGE, "link_type": Field(Choice(get_args(LinkType)), required=True)}

Endpoint = Callable[[Request], Awaitable[Response]]


class KomboApi:
    """The endpoints; each checks the key, then the input, then acts."""

    def __init__(self, links: Links, connections: Connections, *, api_key: Callable[[], str | None]) -> None:
        self._api_key = api_key
        self._links = links
        self._connections = connections

    def routes(self) -> list[Route]:
        """List the routes of the API."""
        integration = "/v1/integrations/{integration_id}"
        return [
            self._route("POST", "/v1/connect/create-link", self._create_link),
            self._route("GET", "/v1/connect/integration-by-token/{token}", self._integration_by_token),
            self._route("POST", "/v1/connect/activate-integration", self._activate_integration),
            self._route("GET", integration, self._details),
            self._route("DELETE", integration, self._delete),
            self._route("POST", f"{integration}/relink", self._relink),
            self._route("POST", f"{integration}/setup-link", self._setup_link),
            self._route("PUT", f"{integration}/enabled", self._set_enabled),
            self._route("GET", "/v1/check-api-key", self._check_api_key),
            self._route("GET", "/v1/tools/{category}", self._tools),
        ]

    def _route(self, method: str, path: str, endpoint: Endpoint) -> Route:
        async def guarded(request: Request) -> Response:
            self._check_key(request.headers.get("authorization", ""))
            return await endpoint(request)

        return Route(path, guarded, methods=[method])

    def _check_key(self, authorization: str) -> None:
        scheme, _, key = authorization.partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise KeyRejected("Send the API key as a bearer token.")
        wanted = self._api_key()
        if wanted and not secrets.compare_digest(key.encode(), wanted.encode()):
            raise KeyRejected("This is not the API key of this environment.")

    async def _create_link(self, request: Request) -> JSONResponse:
        values = read_fields(await read_json(request), CREATE_LINK)
        if values.optional_text("remote_environment") and not values.optional_text("integration_tool"):
            raise InputInvalid("remote_environment can only be used together with integration_tool.")
        link = self._links.mint(_connect_terms(values), _base_url(request))
        return success(link_data(link))

    async def _integration_by_token(self, request: Request) -> JSONResponse:
        return success(activation_data(self._connections.exchange(request.path_params["token"])))

    async def _activate_integration(self, request: Request) -> JSONResponse:
        # Deprecated in favour of the one above: see docs.kombo.dev/lms/v1/post-connect-activate-integration
        values = read_fields(await read_json(request), {"token": Field(Text(min_length=1), required=True)})
        return success(activation_data(self._connections.exchange(values.text("token"))))

    async def _details(self, request: Request) -> JSONResponse:
        integration = self._connections.find(request.path_params["integration_id"])
        return success(integration_data(integration, _base_url(request)))

    async def _delete(self, request: Request) -> JSONResponse:
        read_fields(await read_json(request), {})
        self._connections.delete(request.path_params["integration_id"])
        return success({})

    async def _relink(self, request: Request) -> JSONResponse:
        values = read_fields(await read_json(request), RELINK)
        return self._link_to("relink", values, request)

    async def _setup_link(self, request: Request) -> JSONResponse:
        values = read_fields(await read_json(request), SETUP_LINK)
        if not self._connections.find(request.path_params["integration_id"]).has_setup_steps:
            raise InputInvalid(
                "This integration has no setup step: neither filtering nor field mapping is on."
            )
        return self._link_to("setup", values, request)

    async def _set_enabled(self, request: Request) -> JSONResponse:
        values = read_fields(await read_json(request), {"value": Field(Flag(), required=True)})
        self._connections.set_enabled(request.path_params["integration_id"], enabled=values.flag("value"))
        return success({})

    async def _check_api_key(self, _request: Request) -> JSONResponse:
        return success({"environment_id": ENVIRONMENT_ID, "customer_id": ENVIRONMENT_ID})

    async def _tools(self, request: Request) -> JSONResponse:
        names = {category.lower(): category for category in CATEGORIES}
        category = names.get(request.path_params["category"])
        if category is None:
            raise InputInvalid(f"The category must be one of {', '.join(names)}.")
        base_url = _base_url(request)
        return success({"tools": [tool_data(tool, category, base_url) for tool in tools_of(category)]})

    def _link_to(self, kind: LinkKind, values: Values, request: Request) -> JSONResponse:
        integration = self._connections.find(request.path_params["integration_id"])
        terms = LinkTerms(
            kind=kind,
            link_type=values.word("link_type", "EMBEDDED"),
            language=values.word("language", "en"),
            end_user=integration.end_user,
            category=integration.category,
            tool=integration.tool,
            options=IntegrationOptions(scope_config_id=values.optional_text("scope_config_id")),
            integration_id=integration.id,
        )
        return success(link_data(self._links.mint(terms, _base_url(request))))


def _connect_terms(values: Values) -> LinkTerms:
    return LinkTerms(
        kind="connect",
        link_type=values.word("link_type", "EMBEDDED"),
        language=values.word("language", "en"),
        end_user=EndUserRecord(
            email=values.text("end_user_email"),
            organization_name=values.text("end_user_organization_name"),
            origin_id=values.optional_text("end_user_origin_id"),
        ),
        category=values.word("integration_category", "HRIS"),
        tool=values.optional_text("integration_tool"),
        options=IntegrationOptions(
            scope_config_id=values.optional_text("scope_config_id"),
            remote_environment=values.optional_text("remote_environment"),
            filtering=values.flag("enable_filtering"),
            field_mapping=values.flag("enable_field_mapping"),
            static_ips=values.flag("enable_static_ips"),
        ),
    )


def _base_url(request: Request) -> str:
    return str(request.base_url).rstrip("/")
