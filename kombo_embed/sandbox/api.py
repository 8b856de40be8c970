"""Kombo's API below `/v1`, as far as connecting tools needs it. Sources: docs.kombo.dev, Kombo's OpenAPI."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import get_args

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from kombo_embed.sandbox import schemas
from kombo_embed.sandbox.catalogue import tools_of
from kombo_embed.sandbox.connections import Connections
from kombo_embed.sandbox.errors import InputInvalid, KeyRejected
from kombo_embed.sandbox.links import Links
from kombo_embed.sandbox.records import EndUserRecord, Integration, IntegrationOptions, LinkKind, LinkTerms
from kombo_embed.sandbox.responses import activation_data, integration_data, link_data, success, tool_data

CATEGORIES: dict[str, schemas.Category] = {name.lower(): name for name in get_args(schemas.Category)}
ENVIRONMENT_ID = "sandbox-environment"

Data = Mapping[str, object]
Endpoint = Callable[[Request], Awaitable[Data]]


class KomboApi:
    """The endpoints; each checks the key, then the input, then acts."""

    def __init__(
        self,
        links: Links,
        connections: Connections,
        *,
        api_key: Callable[[], str | None],
        public_url: str | None = None,
    ) -> None:
        self._api_key = api_key
        self._public_url = public_url
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
        async def respond(request: Request) -> JSONResponse:
            self._check_key(request.headers.get("authorization", ""))
            return success(await endpoint(request))

        return Route(path, respond, methods=[method])

    def _check_key(self, authorization: str) -> None:
        scheme, _, key = authorization.partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise KeyRejected("Send the API key as a bearer token.")
        wanted = self._api_key()
        if wanted and not secrets.compare_digest(key.encode(), wanted.encode()):
            raise KeyRejected("This is not the API key of this environment.")

    async def _create_link(self, request: Request) -> Data:
        body = await schemas.CreateLinkBody.read(request)
        if body.remote_environment and not body.integration_tool:
            raise InputInvalid("remote_environment can only be used together with integration_tool.")
        return self._mint(_connect_terms(body), request)

    async def _integration_by_token(self, request: Request) -> Data:
        return activation_data(self._connections.exchange(request.path_params["token"]))

    async def _activate_integration(self, request: Request) -> Data:
        # Deprecated in favour of the one above: docs.kombo.dev/lms/v1/post-connect-activate-integration
        body = await schemas.ActivateBody.read(request)
        return activation_data(self._connections.exchange(body.token))

    async def _details(self, request: Request) -> Data:
        return integration_data(self._find(request), self._base_url(request))

    async def _delete(self, request: Request) -> Data:
        await schemas.EmptyBody.read(request)
        self._connections.delete(request.path_params["integration_id"])
        return {}

    async def _relink(self, request: Request) -> Data:
        body = await schemas.RelinkBody.read(request)
        options = IntegrationOptions(scope_config_id=body.scope_config_id)
        return self._mint(_renewal_terms("relink", body, self._find(request), options), request)

    async def _setup_link(self, request: Request) -> Data:
        body = await schemas.SetupLinkBody.read(request)
        integration = self._find(request)
        if not integration.has_setup_steps:
            raise InputInvalid(
                "This integration has no setup step: neither filtering nor field mapping is on."
            )
        return self._mint(_renewal_terms("setup", body, integration, IntegrationOptions()), request)

    async def _set_enabled(self, request: Request) -> Data:
        body = await schemas.EnabledBody.read(request)
        self._connections.set_enabled(request.path_params["integration_id"], enabled=body.value)
        return {}

    async def _check_api_key(self, _request: Request) -> Data:
        return {"environment_id": ENVIRONMENT_ID, "customer_id": ENVIRONMENT_ID}

    async def _tools(self, request: Request) -> Data:
        category = CATEGORIES.get(request.path_params["category"])
        if category is None:
            raise InputInvalid(f"The category must be one of {', '.join(CATEGORIES)}.")
        base_url = self._base_url(request)
        return {"tools": [tool_data(tool, category, base_url) for tool in tools_of(category)]}

    def _find(self, request: Request) -> Integration:
        return self._connections.find(request.path_params["integration_id"])

    def _mint(self, terms: LinkTerms, request: Request) -> Data:
        return link_data(self._links.mint(terms, self._base_url(request)))

    def _base_url(self, request: Request) -> str:
        return self._public_url or str(request.base_url).rstrip("/")


def _renewal_terms(
    kind: LinkKind,
    body: schemas.RelinkBody | schemas.SetupLinkBody,
    integration: Integration,
    options: IntegrationOptions,
) -> LinkTerms:
    return LinkTerms(
        kind=kind,
        link_type=body.link_type,
        language=body.language or "en",
        end_user=integration.end_user,
        category=integration.category,
        tool=integration.tool,
        options=options,
        integration_id=integration.id,
    )


def _connect_terms(body: schemas.CreateLinkBody) -> LinkTerms:
    return LinkTerms(
        kind="connect",
        link_type=body.link_type,
        language=body.language or "en",
        end_user=EndUserRecord(body.end_user_email, body.end_user_organization_name, body.end_user_origin_id),
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
