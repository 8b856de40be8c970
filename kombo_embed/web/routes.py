"""The table of calls: what there is below the mount path, and what every document of it is made from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kombo_embed import errors
from kombo_embed.errors import KomboEmbedError
from kombo_embed.web import endpoints
from kombo_embed.web.cross_origin import verify_origin
from kombo_embed.web.endpoints import Services
from kombo_embed.web.problems import problem, problem_of_host
from kombo_embed.web.requests import CompletionBody, LinkBody, RelinkBody
from kombo_embed.web.schemas import (
    KomboHealth,
    KomboIntegrationAnswer,
    KomboIntegrationsAnswer,
    KomboLink,
    KomboToolsAnswer,
)

Opened = Callable[[], Awaitable[Services]]
Handler = Callable[[Services, Request], Awaitable[Response]]
Shape = type[BaseModel] | str | None  # a model in JSON, another media type, or no body
Problems = tuple[type[KomboEmbedError], ...]

LOGIN: Problems = (
    errors.Unauthenticated,
    errors.Forbidden,
    errors.IdentityError,
    errors.IdentityUnavailable,
)
KOMBO: Problems = (
    errors.KomboRateLimited,
    errors.KomboUnavailable,
    errors.KomboTimeout,
    errors.KomboRejected,
    errors.KomboInvalidResponse,
)
MINT: Problems = (errors.RateLimited, *KOMBO)
BODY: Problems = (
    errors.InvalidRequest,
    errors.MalformedBody,
    errors.BodyTooLarge,
    errors.BodyTooSlow,
    errors.UnsupportedMediaType,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call.

    Attributes:
        method: The HTTP method.
        path: Below the mount path.
        handler: What answers it.
        summary: What it does, in a line.
        answers: The statuses of success with their bodies, the usual one first.
        body: What it takes; None is nothing.
        signed_in: Whether it answers the signed-in end user only.
        tagged: Whether its answer has an entity tag.
        problems: What it may fail with, beside those that follow from the above.
        checks_origin: Whether a page of another site could do harm by making a signed-in browser call it.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answers: Mapping[int, Shape]
    body: type[BaseModel] | None = None
    signed_in: bool = True
    tagged: bool = False
    problems: Problems = field(default=())
    checks_origin: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "checks_origin", self.signed_in and self.method != "GET")

    @property
    def all_problems(self) -> Problems:
        """What it may fail with."""
        origin = (errors.CrossOriginRefused,) if self.checks_origin else ()
        return (*origin, *(LOGIN if self.signed_in else ()), *self.problems)

    async def respond(self, opened: Opened, request: Request) -> Response:
        """Answer it, opening the services if need be."""
        try:
            services = await opened()
        except KomboEmbedError as error:
            return problem(error)
        return await self.respond_with(services, request)

    async def respond_with(self, services: Services, request: Request) -> Response:
        """Answer it: with what the handler gives, or with the problem that it raises."""
        try:
            if self.checks_origin:
                verify_origin(request, services.settings.allowed_origins)
            return await self.handler(services, request)
        except KomboEmbedError as error:
            return problem(error)
        except HTTPException as error:
            return problem_of_host(error)


OPERATIONS = (
    Operation(
        method="POST",
        path="/links",
        handler=endpoints.issue_link,
        summary="Get a connection link for the signed-in end user",
        body=LinkBody,
        answers={200: KomboLink},
        problems=(*BODY, errors.AlreadyConnected, errors.StoreUnavailable, *MINT),
    ),
    Operation(
        method="POST",
        path="/completions",
        handler=endpoints.complete,
        summary="Record what a finished flow connected",
        body=CompletionBody,
        answers={201: KomboIntegrationAnswer, 200: KomboIntegrationAnswer},
        problems=(*BODY, errors.ActivationRejected, errors.StoreUnavailable, *MINT),
    ),
    Operation(
        method="GET",
        path="/integrations",
        handler=endpoints.list_integrations,
        summary="List the organisation's integrations",
        answers={200: KomboIntegrationsAnswer},
        tagged=True,
        problems=(errors.StoreUnavailable,),
    ),
    Operation(
        method="GET",
        path="/integrations/{id}",
        handler=endpoints.show_integration,
        summary="Show one of the organisation's integrations",
        answers={200: KomboIntegrationAnswer},
        tagged=True,
        problems=(errors.IntegrationNotFound, errors.StoreUnavailable),
    ),
    Operation(
        method="POST",
        path="/integrations/{id}/relink",
        handler=endpoints.issue_relink,
        summary="Get a link to renew an integration's credentials",
        body=RelinkBody,
        answers={200: KomboLink},
        problems=(*BODY, errors.IntegrationNotFound, errors.StoreUnavailable, *MINT),
    ),
    Operation(
        method="POST",
        path="/integrations/{id}/setup-link",
        handler=endpoints.issue_setup_link,
        summary="Get a link to what is left to set up of an integration",
        body=RelinkBody,
        answers={200: KomboLink},
        problems=(
            *BODY,
            errors.IntegrationNotFound,
            errors.SetupNotAvailable,
            errors.StoreUnavailable,
            *MINT,
        ),
    ),
    Operation(
        method="DELETE",
        path="/integrations/{id}",
        handler=endpoints.disconnect,
        summary="Delete an integration, at Kombo too",
        answers={204: None},
        problems=(*BODY, errors.IntegrationNotFound, errors.StoreUnavailable, *KOMBO),
    ),
    Operation(
        method="POST",
        path="/webhooks",
        handler=endpoints.receive_webhook,
        summary="Take one of Kombo's signed events",
        answers={204: None},
        signed_in=False,
        problems=(
            errors.InvalidRequest,
            errors.MalformedBody,
            errors.BodyTooLarge,
            errors.BodyTooSlow,
            errors.WebhookRejected,
            errors.WebhooksNotConfigured,
            errors.StoreUnavailable,
        ),
    ),
    Operation(
        method="GET",
        path="/tools",
        handler=endpoints.list_tools,
        summary="List the tools of a category",
        answers={200: KomboToolsAnswer},
        tagged=True,
        problems=(errors.InvalidRequest, errors.StoreUnavailable, *KOMBO),
    ),
    Operation(
        method="GET",
        path="/kombo-embed.js",
        handler=endpoints.serve_browser_module,
        summary="Get the browser module",
        answers={200: "text/javascript"},
        signed_in=False,
        tagged=True,
        problems=(errors.BrowserModuleMissing,),
    ),
    Operation(
        method="GET",
        path="/openapi.json",
        handler=endpoints.describe,
        summary="Get this description",
        answers={200: "application/json"},
        signed_in=False,
        tagged=True,
    ),
    Operation(
        method="GET",
        path="/health",
        handler=endpoints.report_health,
        summary="Tell whether the database can be reached",
        answers={200: KomboHealth, 503: KomboHealth},
        signed_in=False,
    ),
)


def create_routes(opened: Opened) -> list[Route]:
    """The routes below the mount path; ``opened`` gives the services, opening them at the first request."""
    return [_route(call, partial(call.respond, opened)) for call in OPERATIONS]


def create_open_routes(services: Services) -> list[Route]:
    """The same routes, where the services are open."""
    return [_route(call, partial(call.respond_with, services)) for call in OPERATIONS]


def _route(call: Operation, endpoint: Callable[[Request], Awaitable[Response]]) -> Route:
    return Route(call.path, endpoint, methods=[call.method], name=call.handler.__name__)
