"""What every API call passes first: it is counted, and spoilt if a fault was ordered for it."""

from collections.abc import Sequence

from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kombo_embed.sandbox.courier import Sleep
from kombo_embed.sandbox.drop import drop_connection
from kombo_embed.sandbox.envelopes import failure
from kombo_embed.sandbox.fault_orders import FaultOrder, take_order
from kombo_embed.sandbox.state import State

_HTML_503 = """<html>
<head><title>503 Service Temporarily Unavailable</title></head>
<body><center><h1>503 Service Temporarily Unavailable</h1></center><hr><center>nginx</center></body>
</html>
"""


class ApiGate:
    """ASGI middleware that counts the calls below `/v1` and carries out ordered faults.

    A call is counted by its method and its route's template, such as
    `GET /v1/integrations/{integration_id}`; a path without a route, by the path itself.
    """

    def __init__(self, app: ASGIApp, *, state: State, routes: Sequence[Route], sleep: Sleep) -> None:
        self._app = app
        self._state = state
        self._routes = routes
        self._sleep = sleep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the call, then spoil it or pass it on."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        template = self._template(scope)
        self._state.calls[f"{scope['method']} {template}"] += 1
        order = take_order(self._state.faults, scope["method"], scope["path"], template)
        if order is None:
            await self._app(scope, receive, send)
        elif order.mode == "slow":
            await self._sleep(order.seconds)
            await self._app(scope, receive, send)
        elif order.mode == "drop":
            await drop_connection(receive)
        else:
            await _spoilt_answer(order)(scope, receive, send)

    def _template(self, scope: Scope) -> str:
        for wanted in (Match.FULL, Match.PARTIAL):
            for route in self._routes:
                if route.matches(scope)[0] == wanted:
                    return route.path
        return str(scope["path"])


def _spoilt_answer(order: FaultOrder) -> Response:  # noqa: PLR0911 - a table of answers, one line each
    match order.mode:
        case "rate_limited":
            headers = {"Retry-After": order.retry_after} if order.retry_after is not None else None
            return _error(429, "PLATFORM.RATE_LIMIT_EXCEEDED", "Too many requests.", headers)
        case "unauthorized":
            return _error(401, "PLATFORM.AUTHENTICATION_INVALID", "The API key is not valid.")
        case "input_invalid":
            return _error(400, "PLATFORM.INPUT_INVALID", "The request is not valid.")
        case "unknown_code":
            return _error(400, "PLATFORM.NOT_INVENTED_YET", "Something that no client knows yet.")
        case "null_code":
            return failure(400, "The message is always in the response.")
        case "html_503":
            return HTMLResponse(_HTML_503, 503)
        case "text_502":
            return PlainTextResponse("Bad Gateway", 502)
        case "redirect":
            return Response(status_code=307, headers={"Location": order.location})
        case "foreign_json":
            return Response('{"ok": true, "items": [1, 2, 3]}', order.status, media_type="application/json")
        case _:
            return Response(status_code=500)


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return failure(status, f"{message} (ordered)", code=code, title=message, headers=headers)
