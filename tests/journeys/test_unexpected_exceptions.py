"""Exceptions that no one foresaw, from every port: each waiting request is answered, and the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event
from starlette.applications import Starlette
from starlette.types import ASGIApp

from kombo_embed import Event, KomboEmbed
from kombo_embed.models import CacheKey, ConnectionLink
from kombo_embed.ports import Invalidation, MintLease
from kombo_embed.sandbox import Sandbox
from tests.fakes import FlakyTransport
from tests.support import (
    deliver_webhooks,
    end_user_from_header,
    eventually,
    make_host,
    make_settings,
    person,
    served,
    webhook_request,
)

pytestmark = pytest.mark.integration

ADA = person("ada@acme")
DEADLINE_SECONDS = 20
WAITERS = 3
Call = tuple[str, str, Any]
LINKS: Call = ("POST", "/kombo/links", {})
COMPLETIONS: Call = ("POST", "/kombo/completions", {"activation_token": "a"})
TOOLS: Call = ("GET", "/kombo/tools", None)


class Unforeseen(Exception):
    """An exception that nothing of ours knows."""


class Fatal(BaseException):
    """One that ``except Exception`` does not catch."""


KINDS = [Unforeseen, Fatal, asyncio.CancelledError, RecursionError]


@asynccontextmanager
async def stopping_in_time(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the app by a real server; fail if it does not stop in time."""
    server = served(app)
    url = await server.__aenter__()
    async with httpx.AsyncClient(base_url=url, headers=ADA, timeout=DEADLINE_SECONDS) as client:
        yield client
    async with asyncio.timeout(DEADLINE_SECONDS):
        await server.__aexit__(None, None, None)


async def statuses(client: httpx.AsyncClient, call: Call) -> list[int]:
    """Return the statuses of several requests that wait for the same work."""
    method, path, body = call
    responses = await asyncio.gather(*(client.request(method, path, json=body) for _ in range(WAITERS)))
    return [response.status_code for response in responses]


class RaisingTransport(httpx.AsyncBaseTransport):
    """Raises an exception of any class, after a wait in which other requests join."""

    def __init__(self, kind: type[BaseException]) -> None:
        self._kind = kind

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        del request
        await asyncio.sleep(0)
        raise self._kind


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", [LINKS, COMPLETIONS, TOOLS], ids=["links", "completions", "tools"])
async def test_whatever_a_call_to_kombo_raises_every_request_is_answered(
    call: Call, kind: type[BaseException]
) -> None:
    app, _ = make_host(RaisingTransport(kind))
    async with stopping_in_time(app) as client:
        for _ in range(2):
            found = set(await statuses(client, call))
            assert found <= ({500} if kind in {Fatal, GeneratorExit} else {503})


class RaisingCache:
    """A host's link cache that raises in one of its methods."""

    def __init__(self, method: str, kind: type[BaseException]) -> None:
        self._method = method
        self._kind = kind

    def _enter(self, method: str) -> None:
        if method == self._method:
            raise self._kind

    async def get(self, key: CacheKey) -> ConnectionLink | None:
        del key
        self._enter("get")
        return None

    @asynccontextmanager
    async def lease(self, key: CacheKey, *, fresh: bool) -> AsyncIterator[MintLease]:
        del key, fresh
        self._enter("lease")
        await asyncio.sleep(0)
        yield RaisingLease(self._enter)
        self._enter("release")

    async def invalidate(self, environment: str, invalidation: Invalidation) -> None:
        del environment, invalidation
        self._enter("invalidate")


class RaisingLease:
    """A lease that raises when the link is put."""

    link = None

    def __init__(self, enter: Any) -> None:
        self._enter = enter

    async def put(self, link: ConnectionLink) -> bool:
        del link
        self._enter("put")
        return True


@pytest.mark.parametrize("kind", [Unforeseen, Fatal, asyncio.CancelledError])
@pytest.mark.parametrize("method", ["get", "lease", "put", "release", "invalidate"])
async def test_whatever_a_hosts_link_cache_raises_every_request_is_answered(
    method: str, kind: type[BaseException], sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    embed = KomboEmbed(
        end_user=end_user_from_header,
        settings=make_settings(),
        http_transport=kombo,
        link_cache=RaisingCache(method, kind),
    )
    app = Starlette()
    embed.install(app)
    async with stopping_in_time(app) as client:
        for _ in range(2):
            assert set(await statuses(client, LINKS)) <= {200, 500, 503}
    assert sandbox.calls.keys() <= {"POST /v1/connect/create-link"}


class FailingDatabase:
    """Makes each statement of every database raise while a kind of exception is set."""

    def __init__(self) -> None:
        self.kind: type[BaseException] | None = None
        self.raised = 0

    def execute(self, *_: object) -> None:
        if self.kind is not None:
            self.raised += 1
            raise self.kind


@pytest.fixture
def failing_database() -> Iterator[FailingDatabase]:
    database = FailingDatabase()
    event.listen(Engine, "before_cursor_execute", database.execute)
    yield database
    event.remove(Engine, "before_cursor_execute", database.execute)


@pytest.mark.parametrize("kind", [Unforeseen, MemoryError])
async def test_whatever_the_database_raises_requests_are_answered_and_the_work_goes_on_afterwards(
    kind: type[BaseException],
    failing_database: FailingDatabase,
    sandbox: Sandbox,
    kombo: httpx.AsyncBaseTransport,
    database_url: str,
) -> None:
    app, embed = make_host(kombo, database_url=database_url)
    events: list[Event] = []
    embed.on("integration.connected")(events.append)
    async with stopping_in_time(app) as client:
        failing_database.kind = kind
        for call in (LINKS, COMPLETIONS, ("GET", "/kombo/integrations", None)):
            assert set(await statuses(client, call)) <= {500, 503}
        webhook = webhook_request("event-1", "other", {})
        assert (await client.post("/kombo/webhooks", **webhook)).status_code in {500, 503}
        before = failing_database.raised
        await eventually(lambda: failing_database.raised >= before + 6)  # by the background work
        failing_database.kind = None
        deliver_webhooks(sandbox, app)
        link = (await client.post("/kombo/links", json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        token = {"activation_token": flow.activation_token}
        assert (await client.post("/kombo/completions", json=token)).status_code in {200, 201}
        await eventually(lambda: len(events) == 1)


@pytest.mark.parametrize("kind", [Fatal, SystemExit, GeneratorExit, StopIteration, asyncio.CancelledError])
@pytest.mark.parametrize("plain", [True, False])
async def test_whatever_a_handler_raises_is_a_failure_and_other_events_are_delivered(
    kind: type[BaseException], plain: bool, kombo: httpx.AsyncBaseTransport
) -> None:
    app, embed = make_host(kombo)
    called: list[str] = []
    delivered: list[str] = []

    def fail(one: Event) -> None:
        called.append(one.id)
        raise kind

    async def fail_later(one: Event) -> None:
        await asyncio.sleep(0)
        fail(one)

    embed.on("kombo.event")(fail if plain else fail_later)
    embed.on("integration.connected")(lambda one: delivered.append(one.id))
    created = {"id": "personio:1", "tool": "personio", "end_user": {"origin_id": "acme"}}
    async with stopping_in_time(app) as client:
        await client.post("/kombo/webhooks", **webhook_request("event-1", "other", {}))
        await eventually(lambda: len(called) == 1)
        await client.post("/kombo/webhooks", **webhook_request("event-2", "integration-created", created))
        await eventually(lambda: len(delivered) == 1)
        await eventually(lambda: len(called) == 2)  # it is called again, two seconds later
    assert called[0] == called[1]


async def test_a_mint_that_is_cancelled_at_the_end_answers_those_that_wait_for_it(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    arrived = asyncio.Event()

    class Endless(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            del request
            arrived.set()
            return await asyncio.Future()

    _, embed = make_host(FlakyTransport(Endless()))
    del kombo
    async with embed:
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(embed.app), base_url="http://app.example", headers=ADA
        )
        waiting = [asyncio.create_task(client.post("/links", json={})) for _ in range(WAITERS)]
        await arrived.wait()
    async with asyncio.timeout(DEADLINE_SECONDS):
        assert {(await one).status_code for one in waiting} == {503}
