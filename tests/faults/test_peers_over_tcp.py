"""Faults of the network to Redis and to PostgreSQL, through a proxy between them and several workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from kombo_embed import Event, KomboEmbed
from kombo_embed.sandbox import Sandbox
from tests.faults.proxy import Fault, FaultProxy, fault_proxy
from tests.faults.sizes import size
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer
from tests.support import eventually, make_host, minted, person, running

pytestmark = pytest.mark.integration

PEOPLE = size(small=5, full=50)
COMPLETIONS = size(small=15, full=500)
FALLBACK_SECONDS = 0.25
SLACK_SECONDS = 0.75  # of a busy machine
Record = Callable[[str, object], None]


@asynccontextmanager
async def two_workers(
    kombo: httpx.AsyncBaseTransport, **settings: Any
) -> AsyncIterator[list[tuple[httpx.AsyncClient, KomboEmbed]]]:
    async with AsyncExitStack() as stack:
        hosts = [make_host(kombo, **settings) for _ in range(2)]
        yield [(await stack.enter_async_context(running(app)), embed) for app, embed in hosts]


async def health(client: httpx.AsyncClient) -> str:
    return str((await client.get("/kombo/health")).json()["checks"]["redis"])


async def until_redis_is_up(*clients: httpx.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while {await health(client) for client in clients} != {"ok"}:  # noqa: ASYNC110 - their own tasks look
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("fault", ["refuse", "slow", "silent", "reset"])
async def test_a_failing_redis_costs_a_call_per_worker_and_no_request(
    fault: Fault,
    sandbox: Sandbox,
    kombo: httpx.AsyncBaseTransport,
    redis_server: RedisServer,
    record_property: Record,
) -> None:
    people = [person(f"p{number}@acme") for number in range(PEOPLE)]
    async with fault_proxy(("127.0.0.1", redis_server.port)) as proxy:
        proxy.delay_seconds, proxy.reset_after_bytes = 2.0, 1
        url = f"redis://127.0.0.1:{proxy.port}/0"
        async with two_workers(kombo, redis_url=url) as ((first, _), (second, _)):
            await until_redis_is_up(first, second)
            inject(proxy, fault)
            slowest = 0.0
            for who in people:
                started = time.monotonic()
                responses = [
                    await client.post("/kombo/links", headers=who, json={}) for client in (first, second)
                ]
                slowest = max(slowest, time.monotonic() - started)
                assert {response.status_code for response in responses} == {200}
            assert minted(sandbox) <= 2 * PEOPLE
            proxy.inject("none")
            await until_redis_is_up(first, second)
            links = [
                (await client.post("/kombo/links", headers=person("last@acme"), json={})).json()["link"]
                for client in (first, second)
            ]
            assert len(set(links)) == 1
    assert slowest < 2 * FALLBACK_SECONDS + SLACK_SECONDS
    record_property(
        "figure", f"{fault}: {minted(sandbox) - 1} calls for {PEOPLE} people and 2 workers, 0 failed"
    )


def inject(proxy: FaultProxy, fault: Fault) -> None:
    proxy.inject(fault)
    if fault == "refuse":
        proxy.cut()


def socket_of(postgres: PostgresServer) -> Path:
    """Return the server's socket file."""
    return postgres.folder / ".s.PGSQL.5432"


async def repeat(
    client: httpx.AsyncClient, path: str, who: dict[str, str], body: dict[str, str]
) -> httpx.Response:
    """Send a request until it succeeds; each failure must be an honest one."""
    async with asyncio.timeout(60):
        while True:
            response = await client.post(path, headers=who, json=body)
            if response.is_success:
                return response
            assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")


async def test_a_postgresql_that_breaks_off_in_mid_answer_loses_and_doubles_nothing(
    sandbox: Sandbox,
    kombo: httpx.AsyncBaseTransport,
    postgres: PostgresServer,
    postgres_database: str,
    record_property: Record,
) -> None:
    events: list[Event] = []
    async with fault_proxy(socket_of(postgres)) as proxy:
        url = f"postgresql://kombo@127.0.0.1:{proxy.port}/{postgres_database}"
        async with two_workers(kombo, database_url=url) as hosts:
            for _, embed in hosts:
                embed.on("integration.connected", name="record")(events.append)
            resets = 0
            for number in range(COMPLETIONS):
                client, embed = hosts[number % 2]
                who = person(f"ada@customer-{number}")
                link = (await repeat(client, "/kombo/links", who, {})).json()["link"]
                flow = await sandbox.complete(link, "personio")
                # The answer that breaks off may be that of the commit: then the work is done, unknown to us.
                proxy.reset_after_bytes = number % 40
                proxy.inject("reset")
                resets += 1
                await repeat(client, "/kombo/completions", who, {"activation_token": flow.activation_token})
                assert [one.integration_id for one in await embed.integrations(f"customer-{number}")] == [
                    flow.integration_id
                ]
            proxy.inject("none")
            await eventually(lambda: len({event.id for event in events}) >= COMPLETIONS, seconds=60)
    assert len({event.id for event in events}) == COMPLETIONS
    record_property("figure", f"PostgreSQL broke off {resets} times: 0 of {COMPLETIONS} lost, 0 twice")


async def test_a_silent_postgresql_is_a_503_by_the_deadline_and_works_again_afterwards(
    kombo: httpx.AsyncBaseTransport, postgres: PostgresServer, postgres_database: str, record_property: Record
) -> None:
    async with fault_proxy(socket_of(postgres)) as proxy:
        url = f"postgresql://kombo@127.0.0.1:{proxy.port}/{postgres_database}"
        app, _ = make_host(kombo, database_url=url)
        async with running(app) as client:
            assert (await client.post("/kombo/links", headers=person("a@a"), json={})).status_code == 200
            proxy.inject("silent")
            started = time.monotonic()
            response = await client.post("/kombo/links", headers=person("b@b"), json={})
            seconds = time.monotonic() - started
            assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")
            cached = await client.post("/kombo/links", headers=person("a@a"), json={})
            assert cached.status_code == 200  # a cached link needs no database
            proxy.inject("none")
            proxy.cut()  # what was swallowed is lost: the server's side is replaced
            await repeat(client, "/kombo/links", person("b@b"), {})
    assert seconds < 10 + 2 + SLACK_SECONDS  # the deadline, and what the driver waits to close the connection
    record_property("figure", f"silent PostgreSQL: 503 after {seconds:.1f} s")
