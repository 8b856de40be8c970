"""The controls below `/_sandbox`: what no Kombo has and every test wants."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import get_args

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kombo_embed.sandbox.bodies import parse_json
from kombo_embed.sandbox.clock import MovableClock
from kombo_embed.sandbox.connections import Connections
from kombo_embed.sandbox.courier import Courier
from kombo_embed.sandbox.driver import Driver, Order
from kombo_embed.sandbox.errors import InputInvalid
from kombo_embed.sandbox.events import new_event
from kombo_embed.sandbox.fault_orders import (
    FAULT_MODES,
    FOREIGN_STATUS,
    REDIRECT_LOCATION,
    SLOW_SECONDS,
    FaultOrder,
)
from kombo_embed.sandbox.fields import (
    Choice,
    Field,
    Flag,
    JsonObject,
    Number,
    Text,
    TextOrNumber,
    Values,
    read_fields,
)
from kombo_embed.sandbox.records import SetupStatus, Status
from kombo_embed.sandbox.report import report_fault, report_state
from kombo_embed.sandbox.state import ActivationMode, LinkShape, State, UnknownTools, WebhookMode

_ORDERS: tuple[Order, ...] = get_args(Order)
_STATUSES: tuple[Status, ...] = get_args(Status)
_SETUP_STATUSES: tuple[SetupStatus, ...] = get_args(SetupStatus)

_TEXT = Field(Text(min_length=1))
_REQUIRED_TEXT = Field(Text(min_length=1), required=True)
_OPTIONAL_TEXT = Field(Text(min_length=1), nullable=True)
_A_CENTURY = 100 * 365 * 86_400.0

_CLOCK = {"advance": Field(Number(0, _A_CENTURY), required=True)}
_FAULT = {
    "path": _REQUIRED_TEXT,
    "mode": Field(Choice(FAULT_MODES), required=True),
    "times": Field(Number(1, 1_000_000, whole=True)),
    "method": Field(Choice(("GET", "POST", "PUT", "DELETE")), nullable=True),
    "retry_after": Field(TextOrNumber(), nullable=True),
    "seconds": Field(Number(0, 3600)),
    "location": _TEXT,
    "status": Field(Number(200, 599, whole=True)),
}
_REPLAY = {"event_id": _OPTIONAL_TEXT, "type": _OPTIONAL_TEXT, "backwards": Field(Flag())}
_SEND = {"type": _TEXT, "data": Field(JsonObject())}
_COMPLETE = {
    "link": _REQUIRED_TEXT,
    "tool": _OPTIONAL_TEXT,
    "order": Field(Choice(_ORDERS), nullable=True),
    "duplicate": Field(Flag()),
}
_FAIL = {"link": _REQUIRED_TEXT, "tool": _OPTIONAL_TEXT}
_STATE_CHANGE = {
    "integration_id": _REQUIRED_TEXT,
    "state": Field(Choice(_STATUSES), nullable=True),
    "setup_status": Field(Choice(_SETUP_STATUSES), nullable=True),
}
_SETTINGS = {
    "activation_mode": Field(Choice(get_args(ActivationMode))),
    "link_shape": Field(Choice(get_args(LinkShape))),
    "unknown_tools": Field(Choice(get_args(UnknownTools))),
    "webhook_mode": Field(Choice(get_args(WebhookMode))),
}

Act = Callable[[Values], Awaitable[Mapping[str, object]]]


class Controls:
    """The control endpoints; each reads its fields, acts, and answers JSON."""

    def __init__(
        self, state: State, clock: MovableClock, *, driver: Driver, connections: Connections, courier: Courier
    ) -> None:
        self._state = state
        self._clock = clock
        self._driver = driver
        self._connections = connections
        self._courier = courier

    def routes(self) -> list[Route]:
        """List the control routes."""
        return [
            Route("/_sandbox/state", self._tell_state, methods=["GET"]),
            _post("reset", {}, self._reset),
            _post("clock", _CLOCK, self._move_clock),
            _post("faults", _FAULT, self._order_fault),
            Route("/_sandbox/faults", self._cancel_faults, methods=["DELETE"]),
            _post("webhooks/replay", _REPLAY, self._replay),
            _post("webhooks/send", _SEND, self._send),
            _post("complete", _COMPLETE, self._complete),
            _post("fail", _FAIL, self._fail),
            _post("state-change", _STATE_CHANGE, self._change_state),
            _post("settings", _SETTINGS, self._set_switches),
        ]

    async def _tell_state(self, _request: Request) -> JSONResponse:
        return JSONResponse(report_state(self._state, self._clock), headers={"Cache-Control": "no-store"})

    async def _cancel_faults(self, _request: Request) -> Response:
        self._state.faults.clear()
        return JSONResponse({"faults": []})

    async def _reset(self, _values: Values) -> Mapping[str, object]:
        self._driver.reset()
        return {"reset": True}

    async def _move_clock(self, values: Values) -> Mapping[str, object]:
        self._clock.advance(values.number("advance", 0))
        return {"now": self._clock.now().isoformat()}

    async def _order_fault(self, values: Values) -> Mapping[str, object]:
        order = FaultOrder(
            path=values.text("path"),
            mode=values.word("mode", "empty_500"),
            times=int(values.number("times", 1)),
            method=values.optional_text("method"),
            retry_after=values.optional_text("retry_after"),
            seconds=values.number("seconds", SLOW_SECONDS),
            location=values.text("location", REDIRECT_LOCATION),
            status=int(values.number("status", FOREIGN_STATUS)),
        )
        self._state.faults.append(order)
        return report_fault(order)

    async def _replay(self, values: Values) -> Mapping[str, object]:
        replayed = self._driver.replay(
            event_id=values.optional_text("event_id"),
            event_type=values.optional_text("type"),
            backwards=values.flag("backwards"),
        )
        return {"replayed": replayed}

    async def _send(self, values: Values) -> Mapping[str, object]:
        event = new_event(values.text("type", "not-invented-yet"), values.mapping("data"))
        self._courier.post(event)
        return {"event_id": event.id, "type": event.type}

    async def _complete(self, values: Values) -> Mapping[str, object]:
        completion = await self._driver.complete(
            values.text("link"),
            values.optional_text("tool"),
            order=values.optional_word("order", _ORDERS),
            duplicate=values.flag("duplicate"),
        )
        return {
            "activation_token": completion.activation_token,
            "integration_id": completion.integration_id,
        }

    async def _fail(self, values: Values) -> Mapping[str, object]:
        self._driver.fail(values.text("link"), values.optional_text("tool"))
        return {"failed": True}

    async def _change_state(self, values: Values) -> Mapping[str, object]:
        status = values.optional_word("state", _STATUSES)
        setup_status = values.optional_word("setup_status", _SETUP_STATUSES)
        if status is None and setup_status is None:
            raise InputInvalid("Give a state, a setup_status, or both.")
        integration = self._connections.change_state(
            values.text("integration_id"), status=status, setup_status=setup_status
        )
        return {"id": integration.id, "state": integration.status, "setup_status": integration.setup_status}

    async def _set_switches(self, values: Values) -> Mapping[str, object]:
        switches = self._state.switches
        self._state.switches = replace(
            switches,
            activation_mode=values.word("activation_mode", switches.activation_mode),
            link_shape=values.word("link_shape", switches.link_shape),
            unknown_tools=values.word("unknown_tools", switches.unknown_tools),
            webhook_mode=values.word("webhook_mode", switches.webhook_mode),
        )
        self._courier.release_all()
        return {name: getattr(self._state.switches, name) for name in _SETTINGS}


def _post(name: str, fields: Mapping[str, Field], act: Act) -> Route:
    async def endpoint(request: Request) -> JSONResponse:
        # No content type is asked for: these are typed by hand, too.
        raw = await request.body()
        values = read_fields(parse_json(raw) if raw.strip() else {}, fields)
        return JSONResponse(await act(values))

    return Route(f"/_sandbox/{name}", endpoint, methods=["POST"])
