"""The host's callables, of every kind: plain ones run in threads, async ones on the event loop."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from kombo_embed import EndUser, Event, LinkOptions
from tests.support import eventually, make_host, running, webhook_request

ADA = EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")
TENANT: ContextVar[str] = ContextVar("tenant", default="none")


class Seen:
    """Where a callable ran: whether in a thread of its own, and with which tenant."""

    def __init__(self) -> None:
        self.loop_thread = threading.get_ident()
        self.calls: list[tuple[bool, str]] = []

    def note(self) -> None:
        self.calls.append((threading.get_ident() != self.loop_thread, TENANT.get()))


def kinds_of(seen: Seen, result: object) -> dict[str, tuple[Callable[..., Any], bool]]:
    """Return callables of every kind that return the result, and whether each has to run in a thread."""

    def plain(*_: object) -> object:
        seen.note()
        return result

    async def coroutine(*_: object) -> object:
        seen.note()
        return result

    class Plain:
        def __call__(self, *_: object) -> object:
            return plain()

        def method(self, *_: object) -> object:
            return plain()

    class Async:
        async def __call__(self, *_: object) -> object:
            return await coroutine()

        async def method(self, *_: object) -> object:
            return await coroutine()

        @classmethod
        async def of_class(cls, *_: object) -> object:
            return await coroutine()

    @functools.wraps(plain)
    def decorated(*arguments: object) -> object:
        return plain(*arguments)

    return {
        "function": (plain, True),
        "lambda": (lambda *_: plain(), True),
        "object": (Plain(), True),
        "bound method": (Plain().method, True),
        "partial": (functools.partial(plain, 1), True),
        "partial of a partial": (functools.partial(functools.partial(plain, 1), 2), True),
        "partial of an object": (functools.partial(Plain()), True),
        "decorated": (decorated, True),
        "coroutine function": (coroutine, False),
        "async object": (Async(), False),
        "async method": (Async().method, False),
        "async class method": (Async.of_class, False),
        "partial of a coroutine function": (functools.partial(coroutine, 1), False),
        "partial of an async object": (functools.partial(Async()), False),
        "partial of an async method": (functools.partial(Async().method), False),
        "marked": (inspect.markcoroutinefunction(lambda *_: coroutine()), False)
        if hasattr(inspect, "markcoroutinefunction")
        else (coroutine, False),
        "lambda that returns a coroutine": (lambda *_: coroutine(), False),
    }


KINDS = list(kinds_of(Seen(), None))


class Tenant:
    """A middleware of the host's that sets a context variable."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        TENANT.set("acme")
        await self._app(scope, receive, send)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_callable_of_any_kind_resolves_the_end_user_with_the_requests_context(
    kind: str, kombo: httpx.AsyncBaseTransport
) -> None:
    users, options = Seen(), Seen()
    end_user, in_thread = kinds_of(users, ADA)[kind]
    link_options, _ = kinds_of(options, LinkOptions(scope_config_id="scope-1"))[kind]
    app, _ = make_host(kombo, end_user=end_user, link_options=link_options)
    app.add_middleware(Tenant)
    async with running(app) as client:
        assert (await client.post("/kombo/links", json={})).status_code == 200
    assert users.calls == options.calls == [(in_thread, "acme")]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_event_handler_of_any_kind_is_called(kind: str, kombo: httpx.AsyncBaseTransport) -> None:
    seen = Seen()
    handler, in_thread = kinds_of(seen, None)[kind]
    app, embed = make_host(kombo)
    embed.on("kombo.event")(handler)
    async with running(app) as client:
        await client.post("/kombo/webhooks", **webhook_request("event-1", "other", {}))
        await eventually(lambda: len(seen.calls) == 1)
    assert seen.calls[0][0] is in_thread


@pytest.mark.parametrize("is_async", [True, False])
async def test_what_a_callable_raises_is_its_response_in_a_thread_as_on_the_loop(
    is_async: bool, kombo: httpx.AsyncBaseTransport
) -> None:
    errors: list[Exception] = [HTTPException(403), HTTPException(418), ValueError("secret"), StopIteration()]

    def plain(_connection: HTTPConnection) -> EndUser:
        raise errors[0]

    async def coroutine(connection: HTTPConnection) -> EndUser:
        return plain(connection)

    app, _ = make_host(kombo, end_user=coroutine if is_async else plain)
    found = []
    async with running(app) as client:
        while errors:
            response = await client.post("/kombo/links", json={})
            found.append((response.status_code, response.json()["code"]))
            assert "secret" not in response.text
            errors.pop(0)
    identity_error = (500, "identity_error")
    assert found == [(403, "forbidden"), (418, "refused"), identity_error, identity_error]


async def test_a_blocking_handler_does_not_block_the_event_loop(kombo: httpx.AsyncBaseTransport) -> None:
    released, entered = threading.Event(), threading.Event()

    def wait(_event: Event) -> None:
        entered.set()
        released.wait(30)

    app, embed = make_host(kombo, end_user=lambda _connection: ADA)
    embed.on("kombo.event")(wait)
    async with running(app) as client:
        await client.post("/kombo/webhooks", **webhook_request("event-1", "other", {}))
        await eventually(entered.is_set)
        assert (await client.post("/kombo/links", json={})).status_code == 200
        released.set()
