"""Fault injection: every API call passes here first, is counted, and fails if a fault matches it."""

import re
from collections.abc import Sequence

import httpx
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kombo_embed.sandbox.records import State
from kombo_embed.sandbox.responses import failure
from kombo_embed.sandbox.schemas import Fault
from kombo_embed.sandbox.webhooks import Sleep

_LAST_PLACEHOLDER = re.compile(r"/\{[^/]+\}$")
_HTML_503 = """<html>
<head><title>503 Service Temporarily Unavailable</title></head>
<body><center><h1>503 Service Temporarily Unavailable</h1></center><hr><center>nginx</center></body>
</html>
"""


class FaultInjector:
    """ASGI middleware that counts the calls below ``/v1`` and injects faults.

    A call is counted by its method and its route's template (``GET /v1/integrations/{integration_id}``), or
    by its path if it has no route.
    """

    def __init__(self, app: ASGIApp, *, state: State, routes: Sequence[Route], sleep: Sleep) -> None:
        self._app = app
        self._state = state
        self._routes = routes
        self._sleep = sleep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the call, then fail it or pass it on."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        template = self._template(scope)
        self._state.calls[f"{scope['method']} {template}"] += 1
        fault = _take_fault(self._state.faults, scope["method"], (scope["path"], template))
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.mode == "slow":
            await self._sleep(fault.seconds)
            await self._app(scope, receive, send)
        elif fault.mode == "drop":
            await _drop_connection(receive)
        else:
            await _faulty_response(fault)(scope, receive, send)

    def _template(self, scope: Scope) -> str:
        for wanted in (Match.FULL, Match.PARTIAL):
            for route in self._routes:
                if route.matches(scope)[0] == wanted:
                    return route.path
        return str(scope["path"])


def _take_fault(faults: list[Fault], method: str, paths: tuple[str, str]) -> Fault | None:
    """Return the oldest fault that matches a call, and use it up by one."""
    for place, fault in enumerate(faults):
        if _matches(fault, method, paths):
            left = fault.times - 1
            faults[place : place + 1] = [fault.model_copy(update={"times": left})] if left else []
            return fault
    return None


def _matches(fault: Fault, method: str, paths: tuple[str, str]) -> bool:
    if fault.method not in (None, method):
        return False
    forms = (*paths, _LAST_PLACEHOLDER.sub("", paths[1]))
    return fault.path == "*" or any(form.endswith(fault.path.rstrip("/")) for form in forms)


async def _drop_connection(receive: Receive) -> None:
    """End the call without a byte of a response, for which ASGI has no message.

    Under uvicorn, close the socket. In-process, raise what httpx raises for a closed socket.
    """
    # uvicorn responds with 500 to any exception; the request cycle behind `receive` owns the transport.
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


def _faulty_response(fault: Fault) -> Response:  # noqa: PLR0911 - a table of responses, one line each
    match fault.mode:
        case "rate_limited":
            headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return _error(429, "PLATFORM.RATE_LIMIT_EXCEEDED", "Too many requests.", headers)
        case "unauthorized":
            return _error(401, "PLATFORM.AUTHENTICATION_INVALID", "The API key is not valid.")
        case "input_invalid":
            return _error(400, "PLATFORM.INPUT_INVALID", "The request is not valid.")
        case "unknown_code":
            return _error(400, "PLATFORM.NOT_INVENTED_YET", "An error that no client knows yet.")
        case "null_code":
            return failure(400, "The message is always in the response.")
        case "html_503":
            return HTMLResponse(_HTML_503, 503)
        case "text_502":
            return PlainTextResponse("Bad Gateway", 502)
        case "redirect":
            return Response(status_code=307, headers={"Location": fault.location})
        case "foreign_json":
            return Response('{"ok": true, "items": [1, 2, 3]}', fault.status, media_type="application/json")
        case _:
            return Response(status_code=500)


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return failure(status, f"{message} (injected)", code=code, title=message, headers=headers)
