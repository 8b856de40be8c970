"""Fault injection: every API call passes here first, is counted, and fails if a fault matches it."""

import re
from collections.abc import Sequence

import httpx
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kombo_embed.sandbox.catalogue import read_json
from kombo_embed.sandbox.records import State
from kombo_embed.sandbox.redaction import redact_path
from kombo_embed.sandbox.request_log import FAULT, KEPT_PATH_CHARACTERS
from kombo_embed.sandbox.responses import failure
from kombo_embed.sandbox.schemas import Fault
from kombo_embed.sandbox.webhooks import Sleep

# Other paths are counted together: each could be a new one.
COUNTED_PATHS = 1000
_LAST_PLACEHOLDER = re.compile(r"/\{[^/]+\}$")


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
        self._count(scope["method"], template)
        fault = _take_fault(self._state.faults, scope["method"], (scope["path"], template))
        scope[FAULT] = fault.mode if fault else None
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.mode == "slow":
            await self._sleep(fault.seconds)
            await self._app(scope, receive, send)
        elif fault.mode == "drop":
            await _drop_connection(receive)
        else:
            await _faulty_response(fault)(scope, receive, send)

    def _count(self, method: str, template: str) -> None:
        name = f"{method} {redact_path(template)[:KEPT_PATH_CHARACTERS]}"
        is_new = name not in self._state.calls
        is_full = len(self._state.calls) >= COUNTED_PATHS
        self._state.calls["(other paths)" if is_new and is_full else name] += 1

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


def _faulty_response(fault: Fault) -> Response:
    if fault.mode == "redirect":
        return Response(status_code=307, headers={"Location": fault.location})
    if fault.mode == "foreign_json":
        return Response('{"ok": true, "items": [1, 2, 3]}', fault.status, media_type="application/json")
    known = read_json("faults.json")
    if fault.mode in known["responses"]:
        return Response(**known["responses"][fault.mode])
    limited = fault.mode == "rate_limited" and fault.retry_after is not None
    headers = {"Retry-After": str(fault.retry_after)} if limited else {}
    return failure(**known["errors"][fault.mode], headers=headers)
