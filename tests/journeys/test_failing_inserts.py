"""While writes fail, browsers repeat their calls: each completion is recorded once and has one event."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from kombo_embed import Event
from kombo_embed.sandbox import Sandbox
from tests.postgres import PostgresServer
from tests.support import eventually, make_host, person, running

COMPLETIONS = int(os.environ.get("FAILING_COMPLETIONS", "60"))  # `make soak` sets more
CONCURRENCY = 20
TABLES = (
    "kombo_embed_integrations",
    "kombo_embed_completions",
    "kombo_embed_events",
    "kombo_embed_deliveries",
)
ON_SQLITE = """CREATE TRIGGER fail_{0} BEFORE INSERT ON {0} WHEN abs(random()) % 10 = 0
    BEGIN SELECT RAISE(ABORT, 'the disk failed'); END"""
ON_POSTGRESQL = """CREATE TRIGGER fail BEFORE INSERT ON {0} FOR EACH ROW EXECUTE FUNCTION fail_a_tenth()"""
FUNCTION = """CREATE FUNCTION fail_a_tenth() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF random() < 0.1 THEN RAISE EXCEPTION 'the disk failed' USING ERRCODE = 'disk_full'; END IF;
    RETURN NEW; END $$"""
END_SOME_CONNECTIONS = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'kombo-embed' AND random() < 0.05"""


async def make_a_tenth_of_inserts_fail(url: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        if url.startswith("sqlite"):
            statements = [ON_SQLITE.format(table) for table in TABLES]
        else:
            statements = [FUNCTION, *(ON_POSTGRESQL.format(table) for table in TABLES)]
        for statement in statements:
            await connection.execute(text(statement))
    await engine.dispose()


class Customers:
    """End users who connect one integration each, repeating each call until it succeeds."""

    def __init__(self, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, database_url: str) -> None:
        self.sandbox = sandbox
        self.rejected = 0
        self.events: list[Event] = []
        self.app, self.embed = make_host(kombo, database_url=database_url)
        self.embed.on("integration.connected")(self.events.append)

    async def connect_all(self, client: httpx.AsyncClient, count: int) -> None:
        """Connect them; assert that each integration is recorded once and has one event."""
        ids: list[str] = []
        for start in range(0, count, CONCURRENCY):
            numbers = range(start, min(start + CONCURRENCY, count))
            ids += await asyncio.gather(*(self._connect(client, number) for number in numbers))
        for number, integration_id in enumerate(ids):
            [recorded] = await self.embed.integrations(f"customer-{number}")
            assert recorded.integration_id == integration_id
        await eventually(lambda: len(self.events) >= count, seconds=60)
        reported = [event.integration.integration_id for event in self.events if event.integration]
        assert sorted(reported) == sorted(ids)

    async def _connect(self, client: httpx.AsyncClient, number: int) -> str:
        headers = person(f"ada@customer-{number}")
        link = (await self._repeat(client, "/kombo/links", headers, {})).json()["link"]
        flow = await self.sandbox.complete(link, "personio")
        await self._repeat(client, "/kombo/completions", headers, {"activation_token": flow.activation_token})
        return flow.integration_id

    async def _repeat(
        self, client: httpx.AsyncClient, path: str, headers: dict[str, str], body: dict[str, str]
    ) -> httpx.Response:
        async with asyncio.timeout(60):
            while True:
                response = await client.post(path, headers=headers, json=body)
                if response.is_success:
                    return response
                assert (response.status_code, response.headers["retry-after"]) == (503, "5"), response.text
                self.rejected += 1


async def test_while_a_tenth_of_all_inserts_fails_nothing_is_lost_or_recorded_twice(
    database_url: str,
    sandbox: Sandbox,
    kombo: httpx.AsyncBaseTransport,
    record_property: Callable[[str, object], None],
) -> None:
    customers = Customers(sandbox, kombo, database_url)
    async with running(customers.app) as client:
        await make_a_tenth_of_inserts_fail(database_url)
        await customers.connect_all(client, COMPLETIONS)
    assert customers.rejected > 0
    rejected = f"{customers.rejected:,} times 503"
    record_property("figure", f"{rejected}: 0 of {COMPLETIONS:,} completions lost, 0 twice")


async def test_while_connections_break_nothing_is_lost_or_recorded_twice(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, postgres: PostgresServer, postgres_url: str
) -> None:
    ended = 0

    async def end_connections() -> None:
        nonlocal ended
        while True:
            ended += len(await postgres.aexecute(END_SOME_CONNECTIONS))

    customers = Customers(sandbox, kombo, postgres_url)
    async with running(customers.app) as client:
        ending = asyncio.create_task(end_connections())
        await customers.connect_all(client, 30)
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
    assert ended > 0
