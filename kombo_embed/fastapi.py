"""The routes as an ``APIRouter``, for FastAPI apps that want them in their own OpenAPI document.

app.include_router(kombo_embed.fastapi.router(embed, end_user=current_end_user), prefix="/kombo")
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from kombo_embed.auth.callable import CallableResolver, refusal_of
from kombo_embed.errors import ConfigurationError, InvalidRequest, KomboEmbedError
from kombo_embed.web import problems, routes
from kombo_embed.web.cors import allow_origins_to_read
from kombo_embed.web.cross_origin import verify_origin
from kombo_embed.web.endpoints import Services
from kombo_embed.web.openapi import describe_other_responses, describe_request, describe_success
from kombo_embed.web.requests import invalid_fields
from kombo_embed.web.schemas import KomboProblem

try:
    from fastapi import APIRouter, Depends
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from fastapi.routing import APIRoute
except ModuleNotFoundError as error:
    if error.name != "fastapi":
        raise
    raise ConfigurationError(
        "kombo_embed.fastapi needs FastAPI: install kombo-embed with its extra 'fastapi'."
    ) from None

if TYPE_CHECKING:
    from kombo_embed.embed import KomboEmbed

EndUserDependency = Callable[..., Any]
Endpoint = Callable[..., Awaitable[Response]]
RouteHandler = Callable[[Request], Coroutine[Any, Any, Response]]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# Set in the scope after the host's dependencies were solved: a later exception is not the dependency's.
DEPENDENCIES_SOLVED = "kombo_embed.dependencies_solved"


def router(embed: KomboEmbed, end_user: EndUserDependency | None = None) -> APIRouter:
    """Return the routes as a router. Give it a prefix of its own: a mount at the same path comes first.

    ``embed.install``, `KomboEmbedMiddleware`, or else the first request opens the embed.

    Args:
        embed: The embed to serve.
        end_user: A FastAPI dependency that returns the signed-in `EndUser`, or None if the request is not
            signed in. It may raise ``HTTPException``, and must not read the body. By default the embed's
            ``end_user``.
    """
    if end_user is not None:
        embed.resolve_in_router()
    api = APIRouter(tags=["Kombo Connect"])
    for operation in routes.OPERATIONS:
        _add_operation(api, operation, embed.services, end_user if operation.signed_in else None)
    # The host's router would answer with a 405 of its own, or redirect to a URL built from the Host header.
    for path in dict.fromkeys(operation.path for operation in routes.OPERATIONS):
        allowed = {operation.method for operation in routes.OPERATIONS if operation.path == path}
        refuse = _always(problems.method_not_allowed(allowed), embed.services)
        api.add_route(path, refuse, methods=[*(set(METHODS) - allowed)], include_in_schema=False)
        missing = _always(problems.route_not_found(), embed.services)
        api.add_route(f"{path}/", missing, methods=list(METHODS), include_in_schema=False)
    return api


def _add_operation(
    api: APIRouter,
    operation: routes.Operation,
    get_services: routes.GetServices,
    end_user: EndUserDependency | None,
) -> None:
    status, content = next(iter(operation.responses.items()))
    api.add_api_route(
        operation.path,
        _endpoint(operation, get_services, end_user),
        methods=[operation.method],
        name=operation.endpoint.__name__,
        summary=operation.summary,
        status_code=status,
        response_model=content if isinstance(content, type) else None,
        response_class=_response_class(content),
        responses=_describe_responses(operation),
        openapi_extra=describe_request(operation, lambda model: model.model_json_schema()),
        route_class_override=_route_class(operation, get_services),
    )


def _describe_responses(operation: routes.Operation) -> dict[int | str, dict[str, Any]]:
    """Return the documented responses; FastAPI adds the schemas of those that name a model."""
    (usual, content), *others = operation.responses.items()
    described: dict[int | str, dict[str, Any]] = {usual: describe_success(operation, usual)}
    for status, model in others:
        described[status] = {**describe_success(operation, status), "model": model}
    # The host's dependency may have parameters of its own.
    more = [InvalidRequest] if operation.signed_in else []
    for code, problem in describe_other_responses(operation, *more).items():
        # FastAPI documents a model under the media type of the response class. That is the problems' own only
        # if there is no other content; then the model brings its schema into the document.
        described[code] = {**problem, "model": KomboProblem} if content is None else problem
    return described


def _response_class(content: routes.ResponseContent) -> type[Response]:
    if isinstance(content, str):
        return Response
    return JSONResponse if content is not None else _ProblemResponse


class _ProblemResponse(JSONResponse):
    media_type = problems.MEDIA_TYPE


def _endpoint(
    operation: routes.Operation, get_services: routes.GetServices, end_user: EndUserDependency | None
) -> Endpoint:
    async def respond(request: Request) -> Response:
        request.scope[DEPENDENCIES_SOLVED] = True
        return await operation.respond(get_services, request)

    async def respond_to(request: Request, resolved: Any = Depends(end_user)) -> Response:  # noqa: ANN401, B008 - it may return anything; FastAPI cannot read a local name in an annotation
        request.scope[DEPENDENCIES_SOLVED] = True

        async def current_end_user(connection: HTTPConnection) -> Any:  # noqa: ANN401 - as above
            del connection
            return resolved

        async def get_services_of_request() -> Services:
            return replace(await get_services(), end_user=CallableResolver(current_end_user))

        return await operation.respond(get_services_of_request, request)

    return respond if end_user is None else respond_to


def _route_class(operation: routes.Operation, get_services: routes.GetServices) -> type[APIRoute]:
    class KomboRoute(APIRoute):
        def get_route_handler(self) -> RouteHandler:
            handle = super().get_route_handler()

            async def handle_after_origin(request: Request) -> Response:
                return await _handle(operation, get_services, handle, request)

            return handle_after_origin

    return KomboRoute


async def _handle(
    operation: routes.Operation, get_services: routes.GetServices, handle: RouteHandler, request: Request
) -> Response:
    """Verify the origin before FastAPI solves the host's dependencies and calls the endpoint."""
    allowed: tuple[str, ...] = ()
    try:
        allowed = (await get_services()).settings.allowed_origins
        if operation.checks_origin:
            verify_origin(request, allowed)
        response = await _handle_with_dependencies(handle, request)
    except KomboEmbedError as error:
        response = problems.problem_response(error)
    except HTTPException as error:
        response = problems.host_problem_response(error)
    return allow_origins_to_read(response, allowed)


async def _handle_with_dependencies(handle: RouteHandler, request: Request) -> Response:
    try:
        return await handle(request)
    except RequestValidationError as error:
        raise invalid_fields(error.errors()) from None
    except Exception as error:
        if DEPENDENCIES_SOLVED in request.scope:
            raise
        raise refusal_of("end_user", error) from None


def _always(problem: KomboEmbedError, get_services: routes.GetServices) -> RouteHandler:
    async def respond(request: Request) -> Response:
        del request
        try:
            allowed = (await get_services()).settings.allowed_origins
        except KomboEmbedError as error:
            return problems.problem_response(error)
        return allow_origins_to_read(problems.problem_response(problem), allowed)

    return respond
