"""The table of operations: every route below the mount path, and what the OpenAPI documents say about it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from kombo_embed import errors
from kombo_embed.errors import KomboEmbedError
from kombo_embed.web import endpoints, schemas
from kombo_embed.web.cross_origin import verify_origin
from kombo_embed.web.endpoints import Services
from kombo_embed.web.problems import host_problem_response, problem_response
from kombo_embed.web.requests import CompletionBody, LinkBody, RelinkBody
from kombo_embed.web.webhook_endpoint import receive_webhook

GetServices = Callable[[], Awaitable[Services]]
Endpoint = Callable[[Services, Request], Awaitable[Response]]
ResponseContent = type[BaseModel] | str | None  # JSON of a model, another media type, or no body
Problems = tuple[type[KomboEmbedError], ...]

IDENTITY = (errors.Unauthenticated, errors.Forbidden, errors.IdentityError, errors.IdentityUnavailable)
KOMBO = (
    errors.KomboRateLimited,
    errors.KomboUnavailable,
    errors.KomboTimeout,
    errors.KomboRejected,
    errors.KomboInvalidResponse,
)
MINT = (errors.RateLimited, *KOMBO)
RAW_BODY = (errors.InvalidRequest, errors.MalformedBody, errors.BodyTooLarge, errors.BodyTooSlow)
BODY = (*RAW_BODY, errors.UnsupportedMediaType)
STORE = (errors.StoreUnavailable,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path below the mount path."""

    method: str
    path: str
    endpoint: Endpoint
    responses: Mapping[int, ResponseContent]  # the statuses of success, the usual one first
    body: type[BaseModel] | None = None
    signed_in: bool = True  # whether it needs a signed-in end user
    has_etag: bool = False
    problems: Problems = ()  # beside those that follow from the other attributes

    @property
    def summary(self) -> str:
        """Return one line for the OpenAPI documents: the first of the endpoint's docstring."""
        return (self.endpoint.__doc__ or "").partition("\n")[0].rstrip(".")

    @property
    def checks_origin(self) -> bool:
        """Return whether pages of other sites could do harm by making a signed-in browser call it."""
        return self.signed_in and self.method != "GET"

    @property
    def all_problems(self) -> Problems:
        """Return all errors that it can respond with."""
        cross_origin = (errors.CrossOriginRefused,) if self.checks_origin else ()
        return (*cross_origin, *(IDENTITY if self.signed_in else ()), *self.problems)

    async def respond(self, get_services: GetServices, request: Request) -> Response:
        """Return the endpoint's response, or the problem for the error that it raises."""
        try:
            services = await get_services()
            if self.checks_origin:
                verify_origin(request, services.settings.allowed_origins)
            return await self.endpoint(services, request)
        except KomboEmbedError as error:
            return problem_response(error)
        except HTTPException as error:
            return host_problem_response(error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Not this request was cancelled, but work that it shared with others.
            message = "The request was interrupted. Send it again."
            return problem_response(errors.KomboUnavailable(message, retry_after=1))


OPERATIONS = (
    Operation(
        method="POST",
        path="/links",
        endpoint=endpoints.issue_link,
        body=LinkBody,
        responses={200: schemas.KomboLinkResponse},
        problems=(*BODY, errors.AlreadyConnected, *STORE, *MINT),
    ),
    Operation(
        method="POST",
        path="/completions",
        endpoint=endpoints.complete_flow,
        body=CompletionBody,
        responses={201: schemas.KomboIntegrationResponse, 200: schemas.KomboIntegrationResponse},
        problems=(*BODY, errors.ActivationRejected, *STORE, *MINT),
    ),
    Operation(
        method="GET",
        path="/integrations",
        endpoint=endpoints.list_integrations,
        responses={200: schemas.KomboIntegrationsResponse},
        has_etag=True,
        problems=(errors.InvalidRequest, *STORE),
    ),
    Operation(
        method="GET",
        path="/integrations/{id}",
        endpoint=endpoints.get_integration,
        responses={200: schemas.KomboIntegrationResponse},
        has_etag=True,
        problems=(errors.IntegrationNotFound, *STORE),
    ),
    Operation(
        method="POST",
        path="/integrations/{id}/relink",
        endpoint=endpoints.issue_relink,
        body=RelinkBody,
        responses={200: schemas.KomboLink},
        problems=(*BODY, errors.IntegrationNotFound, *STORE, *MINT),
    ),
    Operation(
        method="POST",
        path="/integrations/{id}/setup-link",
        endpoint=endpoints.issue_setup_link,
        body=RelinkBody,
        responses={200: schemas.KomboLink},
        problems=(*BODY, errors.IntegrationNotFound, errors.SetupNotAvailable, *STORE, *MINT),
    ),
    Operation(
        method="DELETE",
        path="/integrations/{id}",
        endpoint=endpoints.disconnect,
        responses={204: None},
        problems=(*BODY, errors.IntegrationNotFound, *STORE, errors.RateLimited, *KOMBO),
    ),
    Operation(
        method="POST",
        path="/webhooks",
        endpoint=receive_webhook,
        responses={204: None},
        signed_in=False,
        problems=(*RAW_BODY, errors.WebhookRejected, errors.WebhooksNotConfigured, *STORE),
    ),
    Operation(
        method="GET",
        path="/tools",
        endpoint=endpoints.list_tools,
        responses={200: schemas.KomboToolsResponse},
        has_etag=True,
        problems=(errors.InvalidRequest, *STORE, *KOMBO),
    ),
    Operation(
        method="GET",
        path="/kombo-embed.js",
        endpoint=endpoints.serve_browser_module,
        responses={200: "text/javascript"},
        signed_in=False,
        has_etag=True,
        problems=(errors.BrowserModuleMissing,),
    ),
    Operation(
        method="GET",
        path="/kombo-integrations.js",
        endpoint=endpoints.serve_integrations_module,
        responses={200: "text/javascript"},
        signed_in=False,
        has_etag=True,
        problems=(errors.BrowserModuleMissing,),
    ),
    Operation(
        method="GET",
        path="/openapi.json",
        endpoint=endpoints.serve_openapi,
        responses={200: "application/json"},
        signed_in=False,
        has_etag=True,
    ),
    Operation(
        method="GET",
        path="/health",
        endpoint=endpoints.check_health,
        responses={200: schemas.KomboHealth, 503: schemas.KomboHealth},
        signed_in=False,
    ),
)


def create_routes(get_services: GetServices) -> list[Route]:
    """Return the routes below the mount path; ``get_services`` may open the services at the first request."""
    return [
        Route(
            operation.path,
            _OperationApp(operation, get_services),
            methods=[operation.method],
            name=operation.endpoint.__name__,
        )
        for operation in OPERATIONS
    ]


class _OperationApp:
    """An operation as an ASGI app, which a `Route` calls without a layer of its own in between."""

    def __init__(self, operation: Operation, get_services: GetServices) -> None:
        self.__name__ = operation.endpoint.__name__  # hosts' middlewares read it
        self._operation = operation
        self._get_services = get_services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._operation.respond(self._get_services, Request(scope, receive, send))
        await response(scope, receive, send)
