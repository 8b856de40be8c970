"""What the host's ``end_user`` callable raises: its HTTPException is the response, all else is logged."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable
from typing import Any

import fastapi
import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from kombo_embed import EndUser, LinkOptions
from kombo_embed.auth.callable import CallableResolver
from kombo_embed.sandbox import Sandbox
from tests.auth.logged import logged_reason
from tests.support import end_user_from_header, make_host, running

ADA = EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")
CONNECTION = HTTPConnection({"type": "http", "headers": []})


def raises(error: BaseException) -> Any:
    async def end_user(_connection: HTTPConnection) -> EndUser | None:
        raise error

    return end_user


async def post_links(end_user: Any, kombo: httpx.AsyncBaseTransport) -> httpx.Response:
    app, _ = make_host(kombo, end_user=end_user)
    async with running(app) as client:
        return await client.post("/kombo/links", json={})


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "refused"),
        (401, "unauthenticated"),
        (402, "refused"),
        (403, "forbidden"),
        (404, "refused"),
        (418, "refused"),
        (429, "refused"),
        (499, "refused"),
        (500, "identity_error"),
        (503, "identity_error"),
        (599, "identity_error"),
    ],
)
@pytest.mark.parametrize("kind", [HTTPException, fastapi.HTTPException])
async def test_an_http_exception_is_a_problem_with_its_status_and_headers(
    kind: type[HTTPException], status: int, code: str, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    error = kind(
        status, "Ask your administrator.", headers={"WWW-Authenticate": "Bearer", "Retry-After": "9"}
    )
    response = await post_links(raises(error), kombo)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.json()["status"] == status
    assert response.json()["detail"] == "Ask your administrator."
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["retry-after"] == "9"
    assert sandbox.calls == {}


@pytest.mark.parametrize(
    ("detail", "text"),
    [
        (
            {"reason": "not an administrator", "ask": ["Grace"]},
            '{"reason": "not an administrator", "ask": ["Grace"]}',
        ),
        (["a", 1, None], '["a", 1, null]'),
        (7, "7"),
        ("", ""),
        (object(), "The application refused the request with a reason that is not JSON."),
        ({1: {2}}, "The application refused the request with a reason that is not JSON."),
    ],
)
async def test_a_detail_that_is_not_text_becomes_json(
    detail: Any, text: str, kombo: httpx.AsyncBaseTransport
) -> None:
    response = await post_links(raises(fastapi.HTTPException(403, detail)), kombo)
    assert (response.status_code, response.json()["detail"]) == (403, text)


async def test_the_hosts_headers_neither_repeat_ours_nor_break_the_response(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    headers: Any = {
        "cache-control": "public",
        "REFERRER-POLICY": "unsafe-url",
        "content-type": "text/html",
        "Content-Length": "3",
        "Retry-After": 7,
        "X-Split": "a\r\nSet-Cookie: b",
        "X-Foreign": "Ω",
        "X Space": "a",
        "X-Kept": "yes",
    }
    response = await post_links(raises(HTTPException(429, headers=headers)), kombo)
    assert response.status_code == 429
    assert response.headers.get_list("cache-control") == ["no-store"]
    assert response.headers.get_list("referrer-policy") == ["no-referrer"]
    assert response.headers.get_list("content-type") == ["application/problem+json"]
    assert response.json()["title"] == "Refused"
    assert (response.headers["retry-after"], response.headers["x-kept"]) == ("7", "yes")
    assert not {"x-split", "set-cookie", "x-foreign", "x space"} & set(response.headers)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("a secret"),
        HTTPException(204),
        HTTPException(302, headers={"Location": "/login"}),
        HTTPException(600, "no such status"),
        KeyError("user"),
        TimeoutError(),
        StopAsyncIteration(),
        ExceptionGroup("several", [ValueError("a secret"), HTTPException(403)]),
        ExceptionGroup("one", [ExceptionGroup("within", [ValueError("a secret")])]),
    ],
)
async def test_any_other_exception_is_an_identity_error_and_the_log_names_the_line(
    error: Exception, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, caplog: pytest.LogCaptureFixture
) -> None:
    response = await post_links(raises(error), kombo)
    assert (response.status_code, response.json()["code"]) == (500, "identity_error")
    reason = logged_reason(caplog)
    assert reason.startswith("end_user raised ")
    assert "a secret" not in response.text + caplog.text + reason
    assert sandbox.calls == {}


async def test_the_only_exception_of_a_task_group_counts_as_itself(kombo: httpx.AsyncBaseTransport) -> None:
    async def in_a_group(_connection: HTTPConnection) -> EndUser | None:
        async with asyncio.TaskGroup() as group:
            group.create_task(raises(HTTPException(403, "Not you."))(None))
        return ADA

    response = await post_links(in_a_group, kombo)
    assert (response.status_code, response.json()["detail"]) == (403, "Not you.")


class Object:
    async def __call__(self, connection: HTTPConnection) -> EndUser | None:
        return await end_user_from_header(connection) or ADA


def plainly(_connection: HTTPConnection) -> EndUser | None:
    return ADA


async def asynchronously(_connection: HTTPConnection) -> EndUser | None:
    return ADA


def with_an_awaitable(connection: HTTPConnection) -> Awaitable[EndUser | None]:
    return asynchronously(connection)


@pytest.mark.parametrize(
    "end_user",
    [plainly, asynchronously, with_an_awaitable, Object(), functools.partial(asynchronously)],
)
async def test_any_callable_is_accepted(end_user: Any, kombo: httpx.AsyncBaseTransport) -> None:
    assert (await post_links(end_user, kombo)).status_code == 200


async def test_cancellation_reaches_the_callable_and_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reached = asyncio.Event()

    async def waiting(_connection: HTTPConnection) -> EndUser | None:
        reached.set()
        await asyncio.Event().wait()
        return ADA

    task = asyncio.create_task(CallableResolver(waiting)(CONNECTION))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not caplog.records


class Stopping(BaseException):
    """Like KeyboardInterrupt, which would end the tests."""


@pytest.mark.parametrize("error", [Stopping(), BaseExceptionGroup("stopping", [Stopping(), ValueError()])])
async def test_exceptions_that_end_the_process_propagate(error: BaseException) -> None:
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - exactly this one
        await CallableResolver(raises(error))(CONNECTION)
    assert raised.value is error


async def test_plain_callables_run_side_by_side_and_do_not_block_the_event_loop(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    barrier = threading.Barrier(5, timeout=10)  # passed only by five calls at once

    def end_user(_connection: HTTPConnection) -> EndUser:
        barrier.wait()
        return ADA

    def link_options(_connection: HTTPConnection, _end_user: EndUser) -> LinkOptions:
        barrier.wait()
        return LinkOptions()

    app, _ = make_host(kombo, end_user=end_user, link_options=link_options)
    async with running(app) as client:
        responses = await asyncio.gather(*(client.post("/kombo/links", json={}) for _ in range(5)))
    assert [response.status_code for response in responses] == [200] * 5
