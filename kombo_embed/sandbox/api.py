"""Kombo's API below `/v1`, as far as connecting tools needs it. Sources: docs.kombo.dev, Kombo's OpenAPI."""

import secrets
from collections.abc import Awaitable, Callable
from typing import get_args

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kombo_embed.sandbox.catalogue import tools_of
from kombo_embed.sandbox.connections import Connections
from kombo_embed.sandbox.errors import InputInvalid, KeyRejected
from kombo_embed.sandbox.links import Links
from kombo_embed.sandbox.records import EndUserRecord, IntegrationOptions, LinkKind, LinkTerms
from kombo_embed.sandbox.responses import activation_data, integration_data, link_data, success, tool_data
from kombo_embed.sandbox.schemas import (
    ActivateBody,
    Category,
    CreateLinkBody,
    EmptyBody,
    EnabledBody,
    RelinkBody,
    SetupLinkBody,
)

CATEGORIES: dict[str, Category] = {category.lower(): category for category in get_args(Category)}
ENVIRONMENT_ID = "sandbox-environment"

Endpoint = Callable[[Request], Awaitable[Response]]


class KomboApi:
    """The endpoints; each checks the key, then the input, then acts."""

    def __init__(self, links: Links, connections: Connections, *, api_key: Callable[[], str | None]) -> None:
        self._api_key = api_key
        self._links = links
        self._connections = connections

    def routes(self) -> list[Route]:
        """Return the routes of the API."""
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
        async def with_key(request: Request) -> Response:
            self._check_key(request.headers.get("authorization", ""))
            return await endpoint(request)

        return Route(path, with_key, methods=[method])

    def _check_key(self, authorization: str) -> None:
        scheme, _, key = authorization.partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise KeyRejected("Send the API key as a bearer token.")
        wanted = self._api_key()
        if wanted and not secrets.compare_digest(key.encode(), wanted.encode()):
            raise KeyRejected("This is not the API key of this environment.")

    async def _create_link(self, request: Request) -> JSONResponse:
        body = await CreateLinkBody.read(request)
        if body.remote_environment and not body.integration_tool:
            raise InputInvalid("remote_environment can only be used together with integration_tool.")
        return success(link_data(self._links.mint(_connect_terms(body), _base_url(request))))

    async def _integration_by_token(self, request: Request) -> JSONResponse:
        return success(activation_data(self._connections.exchange(request.path_params["token"])))

    async def _activate_integration(self, request: Request) -> JSONResponse:
        # Deprecated in favour of the one above: docs.kombo.dev/lms/v1/post-connect-activate-integration
        body = await ActivateBody.read(request)
        return success(activation_data(self._connections.exchange(body.token)))

    async def _details(self, request: Request) -> JSONResponse:
        integration = self._connections.find(request.path_params["integration_id"])
        return success(integration_data(integration, _base_url(request)))

    async def _delete(self, request: Request) -> JSONResponse:
        await EmptyBody.read(request)
        self._connections.delete(request.path_params["integration_id"])
        return success({})

    async def _relink(self, request: Request) -> JSONResponse:
        body = await RelinkBody.read(request)
        return self._link_to("relink", body, request, scope_config_id=body.scope_config_id)

    async def _setup_link(self, request: Request) -> JSONResponse:
        body = await SetupLinkBody.read(request)
        if not self._connections.find(request.path_params["integration_id"]).has_setup_steps:
            raise InputInvalid(
                "This integration has no setup step: neither filtering nor field mapping is on."
            )
        return self._link_to("setup", body, request)

    async def _set_enabled(self, request: Request) -> JSONResponse:
        body = await EnabledBody.read(request)
        self._connections.set_enabled(request.path_params["integration_id"], enabled=body.value)
        return success({})

    async def _check_api_key(self, _request: Request) -> JSONResponse:
        return success({"environment_id": ENVIRONMENT_ID, "customer_id": ENVIRONMENT_ID})

    async def _tools(self, request: Request) -> JSONResponse:
        category = CATEGORIES.get(request.path_params["category"])
        if category is None:
            raise InputInvalid(f"The category must be one of {', '.join(CATEGORIES)}.")
        base_url = _base_url(request)
        return success({"tools": [tool_data(tool, category, base_url) for tool in tools_of(category)]})

    def _link_to(
        self,
        kind: LinkKind,
        body: RelinkBody | SetupLinkBody,
        request: Request,
        *,
        scope_config_id: str | None = None,
    ) -> JSONResponse:
        integration = self._connections.find(request.path_params["integration_id"])
        terms = LinkTerms(
            kind=kind,
            link_type=body.link_type,
            language=body.language or "en",
            end_user=integration.end_user,
            category=integration.category,
            tool=integration.tool,
            options=IntegrationOptions(scope_config_id=scope_config_id),
            integration_id=integration.id,
        )
        return success(link_data(self._links.mint(terms, _base_url(request))))


def _connect_terms(body: CreateLinkBody) -> LinkTerms:
    return LinkTerms(
        kind="connect",
        link_type=body.link_type,
        language=body.language or "en",
        end_user=EndUserRecord(
            email=body.end_user_email,
            organization_name=body.end_user_organization_name,
            origin_id=body.end_user_origin_id,
        ),
        category=body.integration_category,
        tool=body.integration_tool,
        options=IntegrationOptions(
            scope_config_id=body.scope_config_id,
            remote_environment=body.remote_environment,
            filtering=body.enable_filtering,
            field_mapping=body.enable_field_mapping,
            static_ips=body.enable_static_ips,
        ),
    )


def _base_url(request: Request) -> str:
    return str(request.base_url).rstrip("/")
