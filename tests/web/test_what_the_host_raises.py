"""The host's callable decides by what it raises; whatever else goes wrong in it is told to its operator."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable
from typing import Any

import fastapi
import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from kombo_embed import EndUser
from kombo_embed.auth.callable import CallableResolver
from kombo_embed.sandbox import Sandbox
from tests.auth.logged import logged_reason
from tests.support import make_host, running, who_the_header_names

ADA = EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")
CONNECTION = HTTPConnection({"type": "http", "headers": []})


def raising(error: BaseException) -> Any:
    async def end_user(_connection: HTTPConnection) -> EndUser | None:
        raise error

    return end_user


async def asked(end_user: Any, kombo: httpx.AsyncBaseTransport) -> httpx.Response:
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
async def test_an_http_exception_is_a_problem_of_its_status_with_its_headers(
    kind: type[HTTPException], status: int, code: str, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    error = kind(
        status, "Ask your administrator.", headers={"WWW-Authenticate": "Bearer", "Retry-After": "9"}
    )
    answer = await asked(raising(error), kombo)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["status"] == status
    assert answer.json()["detail"] == "Ask your administrator."
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["retry-after"] == "9"
    assert sandbox.calls == {}


@pytest.mark.parametrize(
    ("detail", "told"),
    [
        (
            {"reason": "not an administrator", "ask": ["Grace"]},
            '{"reason": "not an administrator", "ask": ["Grace"]}',
        ),
        (["a", 1, None], '["a", 1, null]'),
        (7, "7"),
        ("", ""),
        (object(), "The application gave no reason that can be told."),
        ({1: {2}}, "The application gave no reason that can be told."),
    ],
)
async def test_a_detail_that_is_no_text_is_told_as_json(
    detail: Any, told: str, kombo: httpx.AsyncBaseTransport
) -> None:
    answer = await asked(raising(fastapi.HTTPException(403, detail)), kombo)
    assert (answer.status_code, answer.json()["detail"]) == (403, told)


async def test_the_hosts_headers_neither_double_ours_nor_break_the_answer(
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
    answer = await asked(raising(HTTPException(429, headers=headers)), kombo)
    assert answer.status_code == 429
    assert answer.headers.get_list("cache-control") == ["no-store"]
    assert answer.headers.get_list("referrer-policy") == ["no-referrer"]
    assert answer.headers.get_list("content-type") == ["application/problem+json"]
    assert answer.json()["title"] == "Refused"
    assert (answer.headers["retry-after"], answer.headers["x-kept"]) == ("7", "yes")
    assert not {"x-split", "set-cookie", "x-foreign", "x space"} & set(answer.headers)


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
async def test_anything_else_is_the_hosts_bug_and_its_log_names_the_place(
    error: Exception, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await asked(raising(error), kombo)
    assert (answer.status_code, answer.json()["code"]) == (500, "identity_error")
    reason = logged_reason(caplog)
    assert reason.startswith("end_user raised ")
    assert "a secret" not in answer.text + caplog.text + reason
    assert sandbox.calls == {}


async def test_the_only_failure_of_a_task_group_counts_as_itself(kombo: httpx.AsyncBaseTransport) -> None:
    async def in_a_group(_connection: HTTPConnection) -> EndUser | None:
        async with asyncio.TaskGroup() as group:
            group.create_task(raising(HTTPException(403, "Not you."))(None))
        return ADA

    answer = await asked(in_a_group, kombo)
    assert (answer.status_code, answer.json()["detail"]) == (403, "Not you.")


class Object:
    async def __call__(self, connection: HTTPConnection) -> EndUser | None:
        return who_the_header_names(connection) or ADA


def plainly(_connection: HTTPConnection) -> EndUser | None:
    return ADA


async def asynchronously(_connection: HTTPConnection) -> EndUser | None:
    return ADA


def with_an_awaitable(connection: HTTPConnection) -> Awaitable[EndUser | None]:
    return asynchronously(connection)


def with_a_future(_connection: HTTPConnection) -> Awaitable[EndUser | None]:
    future: asyncio.Future[EndUser | None] = asyncio.get_running_loop().create_future()
    future.set_result(ADA)
    return future


@pytest.mark.parametrize(
    "end_user",
    [plainly, asynchronously, with_an_awaitable, with_a_future, Object(), functools.partial(asynchronously)],
)
async def test_any_callable_will_do(end_user: Any, kombo: httpx.AsyncBaseTransport) -> None:
    assert (await asked(end_user, kombo)).status_code == 200


async def test_a_caller_that_leaves_cancels_the_callable_and_that_is_no_failure_of_it(
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
    """As KeyboardInterrupt, which would end the tests."""


@pytest.mark.parametrize("error", [Stopping(), BaseExceptionGroup("stopping", [Stopping(), ValueError()])])
async def test_what_ends_the_process_passes_through(error: BaseException) -> None:
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - exactly this one
        await CallableResolver(raising(error))(CONNECTION)
    assert raised.value is error
