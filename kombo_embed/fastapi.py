"""The same calls as an ``APIRouter``, for FastAPI apps that want them in their own OpenAPI document.

app.include_router(kombo_embed.fastapi.router(embed, end_user=current_end_user), prefix="/kombo")
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from kombo_embed.auth.callable import CallableResolver, refusal_of
from kombo_embed.errors import ConfigurationError, InvalidRequest, KomboEmbedError
from kombo_embed.web.app import method_refused, route_missing
from kombo_embed.web.cors import allow_origins_to_read
from kombo_embed.web.cross_origin import verify_origin
from kombo_embed.web.endpoints import Services
from kombo_embed.web.openapi import PROBLEM_TYPE, answer_of, not_modified, operation_of, problems_of
from kombo_embed.web.problems import problem, problem_of_host
from kombo_embed.web.requests import invalid
from kombo_embed.web.routes import OPERATIONS, Opened, Operation, Shape
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
Answer = Callable[[Request], Coroutine[Any, Any, Response]]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SOLVED = "kombo_embed.solved"  # in the scope: the host's dependencies are done, what fails now is ours


def router(embed: KomboEmbed, end_user: EndUserDependency | None = None) -> APIRouter:
    """The calls as a router, to include with a prefix of its own: a mount at the same path comes first.

    The embed is opened by ``embed.install``, by `KomboEmbedMiddleware`, or else by the first request.

    Args:
        embed: What to serve.
        end_user: A FastAPI dependency that gives the signed-in `EndUser`, or None where nobody is signed in.
            It may raise ``HTTPException``, and must not read the body. By default the embed's ``end_user``.
    """
    if end_user is not None:
        embed.resolve_in_router()
    api = APIRouter(tags=["Kombo Connect"])
    for call in OPERATIONS:
        _add(api, call, embed.services, end_user if call.signed_in else None)
    # The host's router would answer these with its own 405, and with redirects to whatever Host says.
    for path in dict.fromkeys(call.path for call in OPERATIONS):
        known = tuple(sorted(call.method for call in OPERATIONS if call.path == path))
        others = [method for method in METHODS if method not in known]
        refused = _always(partial(method_refused, known), embed.services)
        api.add_route(path, refused, methods=others, include_in_schema=False)
        missing = _always(route_missing, embed.services)
        api.add_route(f"{path}/", missing, methods=list(METHODS), include_in_schema=False)
    return api


def _add(api: APIRouter, call: Operation, opened: Opened, end_user: EndUserDependency | None) -> None:
    status, shape = next(iter(call.answers.items()))
    api.add_api_route(
        call.path,
        _endpoint(call, opened, end_user),
        methods=[call.method],
        name=call.handler.__name__,
        summary=call.summary,
        status_code=status,
        response_model=shape if isinstance(shape, type) else None,
        response_class=_response_class(shape),
        responses=_responses(call),
        openapi_extra=operation_of(call, lambda model: model.model_json_schema()),
        route_class_override=_route_class(call, opened),
    )


def _responses(call: Operation) -> dict[int | str, dict[str, Any]]:
    """The documented answers; FastAPI adds the schemas of the models to those that name one."""
    (usual, shape), *more = call.answers.items()
    described: dict[int | str, dict[str, Any]] = {usual: answer_of(call, usual)}
    for status, model in more:
        described[status] = {**answer_of(call, status), "model": model}
    # The host's dependency may have parameters of its own.
    problems = problems_of(call, InvalidRequest) if call.signed_in else problems_of(call)
    for code, told in {**not_modified(call), **problems}.items():
        # Only where no answer is JSON can FastAPI be told the media type of these, and takes in their model.
        described[code] = {**told, "model": KomboProblem} if shape is None else told
    return described


def _response_class(shape: Shape) -> type[Response]:
    if isinstance(shape, str):
        return Response
    return JSONResponse if shape is not None else _ProblemResponse


class _ProblemResponse(JSONResponse):
    media_type = PROBLEM_TYPE


def _endpoint(call: Operation, opened: Opened, end_user: EndUserDependency | None) -> Endpoint:
    async def own(request: Request) -> Response:
        request.scope[SOLVED] = True
        return await call.respond(opened, request)

    async def told(request: Request, who: Any = Depends(end_user)) -> Response:  # noqa: ANN401, B008 - it may give anything; FastAPI cannot read a local name in an annotation
        request.scope[SOLVED] = True

        async def knowing() -> Services:
            return replace(await opened(), end_user=CallableResolver(lambda _: who))

        return await call.respond(knowing, request)

    return own if end_user is None else told


def _route_class(call: Operation, opened: Opened) -> type[APIRoute]:
    class KomboRoute(APIRoute):
        def get_route_handler(self) -> Answer:
            solve = super().get_route_handler()

            async def answer(request: Request) -> Response:
                return await _respond(call, opened, solve, request)

            return answer

    return KomboRoute


async def _respond(call: Operation, opened: Opened, solve: Answer, request: Request) -> Response:
    """Check the origin, then solve the host's dependencies; the endpoint then does as everywhere."""
    allowed: tuple[str, ...] = ()
    try:
        allowed = (await opened()).settings.allowed_origins
        if call.checks_origin:
            verify_origin(request, allowed)
        response = await _solved(solve, request)
    except KomboEmbedError as error:
        response = problem(error)
    except HTTPException as error:
        response = problem_of_host(error)
    return allow_origins_to_read(response, allowed)


async def _solved(solve: Answer, request: Request) -> Response:
    try:
        return await solve(request)
    except RequestValidationError as error:
        raise invalid(error.errors()) from None
    except Exception as error:
        if SOLVED in request.scope:
            raise
        raise refusal_of("end_user", error) from None


def _always(respond: Callable[[], Response], opened: Opened) -> Answer:
    async def answer(request: Request) -> Response:
        del request
        try:
            allowed = (await opened()).settings.allowed_origins
        except KomboEmbedError as error:
            return problem(error)
        return allow_origins_to_read(respond(), allowed)

    return answer
