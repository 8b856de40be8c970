"""A tenth of all that is written fails: what a browser sends again until it is answered is recorded once."""

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

COMPLETIONS = int(os.environ.get("FAILING_COMPLETIONS", "60"))
TABLES = ("kombo_embed_integrations", "kombo_embed_completions", "kombo_embed_outbox")
ON_SQLITE = """CREATE TRIGGER fail_{0} BEFORE INSERT ON {0} WHEN abs(random()) % 10 = 0
    BEGIN SELECT RAISE(ABORT, 'a tenth fails'); END"""
ON_POSTGRESQL = """CREATE TRIGGER fail BEFORE INSERT ON {0} FOR EACH ROW EXECUTE FUNCTION a_tenth_fails()"""
FUNCTION = """CREATE FUNCTION a_tenth_fails() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN IF random() < 0.1 THEN RAISE EXCEPTION 'a tenth fails'; END IF; RETURN NEW; END $$"""


async def make_a_tenth_fail(url: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        if url.startswith("sqlite"):
            statements = [ON_SQLITE.format(table) for table in TABLES]
        else:
            statements = [FUNCTION, *(ON_POSTGRESQL.format(table) for table in TABLES)]
        for statement in statements:
            await connection.execute(text(statement))
    await engine.dispose()


async def insist(
    client: httpx.AsyncClient, path: str, refused: Counter[int], **sent: object
) -> httpx.Response:
    async with asyncio.timeout(60):
        while True:
            answer = await client.post(path, **sent)  # type: ignore[arg-type]  # headers and json
            if answer.is_success:
                return answer
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5"), answer.text
            refused[answer.status_code] += 1


async def test_nothing_is_lost_and_nothing_is_recorded_twice(
    database_url: str, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    connected: list[Event] = []
    refused: Counter[int] = Counter()
    app, embed = make_host(kombo, database_url=database_url)
    embed.on("integration.connected")(connected.append)
    async with running(app) as client:
        await make_a_tenth_fail(database_url)

        async def connect(number: int) -> str:
            who = person(f"ada@customer-{number}")
            link = (await insist(client, "/kombo/links", refused, headers=who, json={})).json()["link"]
            flow = await sandbox.complete(link, "personio")
            token = {"activation_token": flow.activation_token}
            await insist(client, "/kombo/completions", refused, headers=who, json=token)
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
