"""A tenth of all inserts fail: a completion that is retried until it succeeds is recorded once."""

from __future__ import annotations

import asyncio
import os
from collections import Counter

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from kombo_embed import Event
from kombo_embed.sandbox import Sandbox
from tests.support import eventually, make_host, person, running

COMPLETIONS = int(os.environ.get("FAILING_COMPLETIONS", "40"))
TABLES = ("kombo_embed_integrations", "kombo_embed_completions", "kombo_embed_outbox")
ON_SQLITE = """CREATE TRIGGER fail_{0} BEFORE INSERT ON {0} WHEN abs(random()) % 10 = 0
    BEGIN SELECT RAISE(ABORT, 'the disk failed'); END"""
ON_POSTGRESQL = """CREATE TRIGGER fail BEFORE INSERT ON {0}
    FOR EACH ROW EXECUTE FUNCTION one_in_ten_fails()"""
FUNCTION = """CREATE FUNCTION one_in_ten_fails() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN IF random() < 0.1 THEN RAISE EXCEPTION 'the disk failed'; END IF; RETURN NEW; END $$"""


async def make_one_in_ten_fail(url: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        if url.startswith("sqlite"):
            statements = [ON_SQLITE.format(table) for table in TABLES]
        else:
            statements = [FUNCTION, *(ON_POSTGRESQL.format(table) for table in TABLES)]
        for statement in statements:
            await connection.execute(text(statement))
    await engine.dispose()


async def post_until_success(
    client: httpx.AsyncClient, path: str, refused: Counter[int], **request: object
) -> httpx.Response:
    async with asyncio.timeout(60):
        while True:
            response = await client.post(path, **request)  # type: ignore[arg-type]  # headers and JSON
            if response.is_success:
                return response
            assert (response.status_code, response.headers["retry-after"]) == (503, "5"), response.text
            refused[response.status_code] += 1


async def test_completions_that_are_retried_after_failed_inserts_are_each_recorded_and_reported_once(
    database_url: str, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    connected: list[Event] = []
    refused: Counter[int] = Counter()
    app, embed = make_host(kombo, database_url=database_url)
    embed.on("integration.connected")(connected.append)
    async with running(app) as client:
        await make_one_in_ten_fail(database_url)

        async def connect(number: int) -> str:
            who = person(f"ada@customer-{number}")
            link = (await post_until_success(client, "/kombo/links", refused, headers=who, json={})).json()[
                "link"
            ]
            flow = await sandbox.complete(link, "personio")
            token = {"activation_token": flow.activation_token}
            await post_until_success(client, "/kombo/completions", refused, headers=who, json=token)
            return flow.integration_id

        ids: list[str] = []
        for start in range(0, COMPLETIONS, 20):
            numbers = range(start, min(start + 20, COMPLETIONS))
            ids += await asyncio.gather(*(connect(number) for number in numbers))
        for number in range(COMPLETIONS):
            [one] = await embed.integrations(f"customer-{number}")
            assert one.integration_id == ids[number]
        await eventually(lambda: len(connected) >= COMPLETIONS, seconds=60)
    assert refused[503] > 0
    assert Counter(event.integration.integration_id for event in connected if event.integration) == Counter(
        ids
    )
