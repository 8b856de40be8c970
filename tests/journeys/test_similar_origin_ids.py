"""Origin ids that differ only in case, spaces or their Unicode form belong to different customers."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.requests import HTTPConnection

from kombo_embed import EndUser
from kombo_embed.sandbox import Sandbox
from tests.redis_server import RedisServer
from tests.support import make_host, minted, running

SIMILAR = (
    *("acme", "acme ", " acme", "Acme", "ACME", "acme\t", "acme\n", "acme\u200b", "acme\u00a0"),
    *("acme?", "acme\ufffd", "acme%00", "acme\\u0000", "acme\x01", "a" * 512, "a" * 511),
    *("caf\u00e9", "cafe\u0301", "\ufb01", "fi", "K", "\u212a", "\u00df", "ss", "\u0131", "i"),
)


def end_user(connection: HTTPConnection) -> EndUser:
    """Return the end user of the origin id with the number in the header; all else is the same for all."""
    number = int(connection.headers["x-number"])
    return EndUser(email="ada@acme.example", organization_name="Acme", origin_id=SIMILAR[number])


async def verify_that_nothing_is_shared(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, **settings: Any
) -> None:
    app, embed = make_host(kombo, end_user=end_user, **settings)
    links, tokens = [], []
    async with running(app) as client:
        people = [{"x-number": str(number)} for number in range(len(SIMILAR))]
        for headers in people:
            for _ in range(2):
                response = await client.post("/kombo/links", headers=headers, json={})
                assert response.status_code == 200
            links.append(response.json()["link"])
        assert (len(set(links)), minted(sandbox)) == (len(SIMILAR), len(SIMILAR))
        for headers, link in zip(people, links, strict=True):
            tokens.append((await sandbox.complete(link, "personio")).activation_token)
            done = await client.post(
                "/kombo/completions", headers=headers, json={"activation_token": tokens[-1]}
            )
            assert done.status_code == 201
        for headers, origin_id in zip(people, SIMILAR, strict=True):
            listed = (await client.get("/kombo/integrations", headers=headers)).json()["integrations"]
            recorded = await embed.integrations(origin_id)
            assert [one.origin_id for one in recorded] == [origin_id]
            assert [row["id"] for row in listed] == [one.public_id for one in recorded]


async def test_similar_origin_ids_share_neither_links_nor_integrations(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, database_url: str
) -> None:
    await verify_that_nothing_is_shared(sandbox, kombo, database_url=database_url)


async def test_similar_origin_ids_share_nothing_in_redis(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    await verify_that_nothing_is_shared(sandbox, kombo, redis_url=redis_server.url)


@pytest.mark.parametrize("origin_id", ["ac\x00me", "acme\x00", "acme\ud83d", "a" * 513, "", " "])
async def test_an_origin_id_that_cannot_be_stored_as_it_is_is_an_identity_error(
    origin_id: str, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    def make_end_user(_connection: HTTPConnection) -> EndUser:
        return EndUser(email="ada@acme.example", organization_name="Acme", origin_id=origin_id)

    app, _ = make_host(kombo, end_user=make_end_user)
    async with running(app) as client:
        for method, path in [("POST", "/links"), ("POST", "/completions"), ("GET", "/integrations")]:
            response = await client.request(method, f"/kombo{path}", content=b"")
            assert (response.status_code, response.json()["code"]) == (500, "identity_error")
    assert sandbox.calls == {}
