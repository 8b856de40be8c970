"""The controls below `/_sandbox`, which Kombo does not have and tests need."""

import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kombo_embed.sandbox import schemas
from kombo_embed.sandbox.catalogue import find_tool
from kombo_embed.sandbox.connections import Connections
from kombo_embed.sandbox.errors import InputInvalid
from kombo_embed.sandbox.records import ApiRequest, Delivery, Integration, Link, RecordT, State
from kombo_embed.sandbox.responses import end_user_data, timestamp
from kombo_embed.sandbox.webhook_events import new_event
from kombo_embed.sandbox.webhooks import WebhookSender

BodyT = TypeVar("BodyT", bound=schemas.Body)


class Controls:
    """The control endpoints; each parses its body, acts, and responds with JSON."""

    def __init__(
        self, state: State, connections: Connections, sender: WebhookSender, *, reset: Callable[[], None]
    ) -> None:
        self._state = state
        self._connections = connections
        self._sender = sender
        self._reset_sandbox = reset

    def routes(self) -> list[Route]:
        """Return the routes of the controls."""
        return [
            Route("/_sandbox/state", self._get_state, methods=["GET"]),
            _post("reset", schemas.EmptyBody, self._reset),
            _post("clock", schemas.ClockBody, self._advance_clock),
            _post("faults", schemas.Fault, self._add_fault),
            Route("/_sandbox/faults", self._clear_faults, methods=["DELETE"]),
            _post("webhooks/replay", schemas.ReplayBody, self._replay),
            _post("webhooks/lose", schemas.TimesBody, self._lose),
            _post("webhooks/fail", schemas.TimesBody, self._fail_attempts),
            _post("webhooks/send", schemas.SendBody, self._send),
            _post("complete", schemas.CompleteBody, self._complete),
            _post("fail", schemas.FailBody, self._fail),
            _post("state-change", schemas.StateChangeBody, self._change_state),
            _post("leave-incomplete", schemas.IntegrationBody, self._leave_incomplete),
            _post("change-data", schemas.IntegrationBody, self._change_data),
            _post("delete", schemas.IntegrationBody, self._delete),
            _post("settings", schemas.Switches, self._set_switches),
        ]

    async def _get_state(self, request: Request) -> JSONResponse:
        newest = schemas.parse_count(request.query_params.get("newest"))
        return JSONResponse(state_data(self._state, newest=newest), headers={"Cache-Control": "no-store"})

    async def _clear_faults(self, _request: Request) -> Response:
        self._state.faults.clear()
        return JSONResponse({"faults": []})

    async def _reset(self, _body: schemas.EmptyBody) -> Mapping[str, object]:
        self._reset_sandbox()
        return {"reset": True}

    async def _advance_clock(self, body: schemas.ClockBody) -> Mapping[str, object]:
        self._state.clock.advance(body.advance)
        return {"now": self._state.now().isoformat()}

    async def _add_fault(self, fault: schemas.Fault) -> Mapping[str, object]:
        self._state.faults.append(fault)
        return _fault_data(fault)

    async def _replay(self, body: schemas.ReplayBody) -> Mapping[str, object]:
        replayed = self._sender.replay(event_id=body.event_id, event_type=body.type, backwards=body.backwards)
        return {"replayed": replayed}

    async def _lose(self, body: schemas.TimesBody) -> Mapping[str, object]:
        self._sender.lose(body.times)
        return {"webhooks_to_lose": self._state.webhooks_to_lose}

    async def _fail_attempts(self, body: schemas.TimesBody) -> Mapping[str, object]:
        self._sender.fail(body.times)
        return {"webhooks_to_fail": self._state.webhooks_to_fail}

    async def _send(self, body: schemas.SendBody) -> Mapping[str, object]:
        event = new_event(body.type, body.data)
        self._sender.send(event)
        return {"event_id": event.id, "type": event.type}

    async def _complete(self, body: schemas.CompleteBody) -> Mapping[str, object]:
        completion = await self._connections.complete(
            body.link, body.tool, order=body.order, duplicate=body.duplicate
        )
        return asdict(completion)

    async def _fail(self, body: schemas.FailBody) -> Mapping[str, object]:
        self._connections.fail(body.link, body.tool)
        return {"failed": True}

    async def _change_state(self, body: schemas.StateChangeBody) -> Mapping[str, object]:
        if body.state is None and body.setup_status is None:
            raise InputInvalid("Give a state, a setup_status, or both.")
        integration = self._connections.change_state(
            body.integration_id, status=body.state, setup_status=body.setup_status
        )
        return {"id": integration.id, "state": integration.status, "setup_status": integration.setup_status}

    async def _leave_incomplete(self, body: schemas.IntegrationBody) -> Mapping[str, object]:
        self._connections.leave_incomplete(body.integration_id)
        return {"id": body.integration_id}

    async def _change_data(self, body: schemas.IntegrationBody) -> Mapping[str, object]:
        self._connections.change_data(body.integration_id)
        return {"id": body.integration_id}

    async def _delete(self, body: schemas.IntegrationBody) -> Mapping[str, object]:
        self._connections.delete(body.integration_id)
        return {"id": body.integration_id}

    async def _set_switches(self, body: schemas.Switches) -> Mapping[str, object]:
        self._state.switches = self._state.switches.model_copy(update=body.model_dump(exclude_unset=True))
        self._sender.release_all()
        return self._state.switches.model_dump()


def _post(name: str, schema: type[BodyT], act: Callable[[BodyT], Awaitable[Mapping[str, object]]]) -> Route:
    async def endpoint(request: Request) -> JSONResponse:
        # No content type is required: people type these requests by hand, too.
        raw = await request.body()
        return JSONResponse(await act(schema.parse(raw if raw.strip() else b"{}")))

    return Route(f"/_sandbox/{name}", endpoint, methods=["POST"])


def state_data(state: State, *, newest: int | None = None) -> dict[str, object]:
    """Return what the sandbox holds, as JSON; most tests need `calls` and `integrations`.

    With ``newest``, integrations, links, deliveries and requests are at most this many, the newest.
    """

    def last(records: Iterable[RecordT]) -> list[RecordT]:
        return [*deque(records, maxlen=newest)]

    return {
        "now": timestamp(state.now()),
        "calls": dict(state.calls),
        "requests": [_request_data(request) for request in last(state.requests)],
        "integrations": [_integration_data(integration) for integration in last(state.integrations.values())],
        "deleted_integrations": last(state.deleted_integrations),
        "links": [_link_data(link, state.now()) for link in last(state.links.values())],
        "deliveries": [_delivery_data(delivery) for delivery in last(state.deliveries.values())],
        "faults": [_fault_data(fault) for fault in state.faults],
        "webhooks_to_lose": state.webhooks_to_lose,
        "webhooks_to_fail": state.webhooks_to_fail,
        "settings": state.switches.model_dump(),
    }


def _request_data(request: ApiRequest) -> dict[str, object]:
    return asdict(request) | {"created_at": timestamp(request.created_at)}


def _fault_data(fault: schemas.Fault) -> dict[str, object]:
    return {"times": fault.times, **fault.model_dump(exclude_defaults=True)}


def _integration_data(integration: Integration) -> dict[str, object]:
    data = asdict(integration)
    del data["options"]
    return data | {
        "tool_label": find_tool(integration.tool).label,
        "has_setup_steps": integration.has_setup_steps,
        "end_user": end_user_data(integration.end_user),
        "created_at": timestamp(integration.created_at),
        "updated_at": timestamp(integration.updated_at),
    }


def _link_data(link: Link, now: datetime) -> dict[str, object]:
    return {
        "link": link.url,
        **asdict(link.terms),
        "end_user": end_user_data(link.terms.end_user),
        "created_at": timestamp(link.created_at),
        "expires_at": timestamp(link.expires_at),
        "expired": now >= link.expires_at,
    }


def _delivery_data(delivery: Delivery) -> dict[str, object]:
    data = asdict(delivery)
    event = data.pop("event")
    body = json.loads(event["body"])
    return data | {
        "event_id": event["id"],
        "type": event["type"],
        "tool_label": _tool_label(body["data"]),
        "created_at": timestamp(delivery.created_at),
        "body": body,
    }


def _tool_label(data: Mapping[str, object]) -> str | None:
    tool = data.get("integration_tool") or data.get("tool")
    return find_tool(tool).label if isinstance(tool, str) else None
