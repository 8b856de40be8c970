"""The database fails under the app: told with 503 and Retry-After, and the same call succeeds later.

The failures are real ones: a lock, a limit, a missing file, a stopped server, a trigger.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from kombo_embed import Event, KomboEmbed
from kombo_embed.sandbox import Sandbox
from tests.postgres import PostgresServer
from tests.support import eventually, files_no_larger_than, make_host, person, running

ADA = person("ada@acme")
FILE = Path("kombo_embed.db")
COMPLETIONS, PATIENCE = 30, 20
FAILS_ON_SQLITE = """
CREATE TRIGGER now_and_then BEFORE INSERT ON {table} WHEN abs(random()) % 10 = 0
BEGIN SELECT RAISE(ABORT, 'the disk failed'); END;
"""
FAILS_ON_POSTGRESQL = """
CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF random() < 0.10 THEN RAISE EXCEPTION 'the disk failed' USING ERRCODE = 'disk_full'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER now_and_then BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION fail();
"""
# The first and the last row that a completion writes.
TABLES = ("kombo_embed_integrations", "kombo_embed_completions")


@dataclass
class App:
    """A running app, with what its end users do."""

    client: httpx.AsyncClient
    sandbox: Sandbox
    embed: KomboEmbed

    async def finish_a_flow(self) -> str:
        """Connect a tool in Kombo's dialog; gives the activation token."""
        link = (await self.client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        return (await self.sandbox.complete(link, "personio")).activation_token

    async def complete(self, token: str) -> httpx.Response:
        return await self.client.post(
            "/kombo/completions", headers=ADA, json={"activation_token": token}, timeout=30
        )

    async def is_told_to_come_back(self, token: str) -> None:
        answer = await self.complete(token)
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert answer.headers["retry-after"] == "5"
        assert answer.json()["detail"].startswith("This cannot be read or stored at the moment.")

    async def is_connected_after_all(self, token: str) -> None:
        assert (await self.client.get("/kombo/health")).status_code == 200
        assert (await self.complete(token)).status_code == 201
        assert (await self.complete(token)).status_code == 200
        assert len(await self.embed.integrations("acme")) == 1


@asynccontextmanager
async def opened(sandbox: Sandbox, database_url: str) -> AsyncIterator[App]:
    app, embed = make_host(httpx.ASGITransport(sandbox.app), database_url=database_url)
    async with running(app) as client:
        yield App(client, sandbox, embed)


async def test_a_lock_of_another_process(sandbox: Sandbox, sqlite_url: str) -> None:
    async with opened(sandbox, sqlite_url) as app:
        token = await app.finish_a_flow()
        other = sqlite3.connect(FILE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        started = asyncio.get_running_loop().time()
        await asyncio.gather(*(app.is_told_to_come_back(token) for _ in range(3)))
        assert asyncio.get_running_loop().time() - started > 4.5  # it may have ended meanwhile
        other.execute("ROLLBACK")
        other.close()
        await app.is_connected_after_all(token)


async def test_a_full_disk(sandbox: Sandbox, sqlite_url: str) -> None:
    async with opened(sandbox, sqlite_url) as app:
        token = await app.finish_a_flow()
        with files_no_larger_than(100):
            await app.is_told_to_come_back(token)
        await app.is_connected_after_all(token)


async def test_a_file_that_is_gone(sandbox: Sandbox, sqlite_url: str) -> None:
    async with opened(sandbox, sqlite_url) as app:
        token = await app.finish_a_flow()
        FILE.rename("kept.db")  # noqa: ASYNC240 - nothing else runs here
        await app.is_told_to_come_back(token)
        assert (await app.client.get("/kombo/health")).status_code == 503
        Path("kept.db").rename(FILE)  # noqa: ASYNC240 - as above
        await app.is_connected_after_all(token)


async def test_a_server_that_is_down(sandbox: Sandbox, postgres: PostgresServer, postgres_url: str) -> None:
    async with opened(sandbox, postgres_url) as app:
        token = await app.finish_a_flow()
        postgres.stop("immediate")
        try:
            await app.is_told_to_come_back(token)
            assert (await app.client.get("/kombo/health")).status_code == 503
        finally:
            postgres.start()
        await app.is_connected_after_all(token)


async def test_connections_that_are_ended_in_mid_flight_lose_nothing(
    sandbox: Sandbox, postgres: PostgresServer, postgres_url: str
) -> None:
    ended = 0

    async def end_connections() -> None:
        nonlocal ended
        while True:
            ended += len(
                await postgres.aexecute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'kombo-embed' AND random() < 0.05"
                )
            )

    async with opened(sandbox, postgres_url) as app:
        ending = asyncio.create_task(end_connections())
        await complete_all(app)
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
    assert ended > 0


async def test_failures_now_and_then_lose_nothing_and_record_nothing_twice(
    sandbox: Sandbox, request: pytest.FixtureRequest, database_url: str
) -> None:
    async with opened(sandbox, database_url) as app:
        if database_url.startswith("sqlite"):
            with sqlite3.connect(FILE) as database:
                for table in TABLES:
                    database.executescript(
                        FAILS_ON_SQLITE.format(table=table).replace("now_and", f"{table}_and")
                    )
            database.close()
        else:
            postgres: PostgresServer = request.getfixturevalue("postgres")
            name = request.getfixturevalue("postgres_database")
            for table in TABLES:
                connection = await postgres.connect(name)
                await connection.execute(FAILS_ON_POSTGRESQL.format(table=table))
                await connection.close()
        statuses = await complete_all(app)
        assert statuses[503] > 0


async def complete_all(app: App) -> Counter[int]:
    """Complete many flows, each until it succeeds; each must be there then, once, and be told once."""
    heard: list[str] = []
    statuses: Counter[int] = Counter()

    @app.embed.on("integration.connected")
    async def hear(event: Event) -> None:
        assert event.integration is not None
        heard.append(event.integration.integration_id)

    async def complete_in_the_end() -> None:
        token = None
        for _ in range(PATIENCE):
            answer = await app.client.post("/kombo/links", headers=ADA, json={})
            if answer.status_code == 200:
                token = (await app.sandbox.complete(answer.json()["link"], "personio")).activation_token
                break
        assert token is not None
        for _ in range(PATIENCE):
            answer = await app.complete(token)
            statuses[answer.status_code] += 1
            if answer.is_success:
                return
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        pytest.fail("it never succeeded")

    for _ in range(COMPLETIONS // 10):
        await asyncio.gather(*(complete_in_the_end() for _ in range(10)))
    await eventually(lambda: len(heard) >= COMPLETIONS)
    assert statuses.keys() <= {200, 201, 503}
    recorded = [one.integration_id for one in await app.embed.integrations("acme")]
    assert len(recorded) == COMPLETIONS
    assert sorted(heard) == sorted(recorded)
    return statuses
