"""Several embeds of one Kombo environment that share a Redis, as several worker processes do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from kombo_embed import KomboEmbed
from kombo_embed.sandbox import Sandbox
from tests.redis_server import RedisServer
from tests.support import make_host, minted, person, running

ADA, GRACE = person("ada@acme"), person("grace@acme")


@dataclass
class Worker:
    """One host, as if in a process of its own."""

    client: httpx.AsyncClient
    embed: KomboEmbed

    async def ask(self, who: dict[str, str] = ADA, **body: Any) -> httpx.Response:
        return await self.client.post("/kombo/links", headers=who, json=body)

    async def link(self, who: dict[str, str] = ADA, **body: Any) -> str:
        answer = await self.ask(who, **body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["link"])

    async def complete(self, sandbox: Sandbox, link: str, tool: str) -> None:
        flow = await sandbox.complete(link, tool)
        body = {"activation_token": flow.activation_token}
        answer = await self.client.post("/kombo/completions", headers=ADA, json=body)
        assert answer.status_code == 201, answer.text

    async def health(self) -> dict[str, Any]:
        return dict((await self.client.get("/kombo/health")).json())


@asynccontextmanager
async def workers(
    count: int, kombo: httpx.AsyncBaseTransport, redis: RedisServer, **settings: Any
) -> AsyncIterator[list[Worker]]:
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(count):
            app, embed = make_host(kombo, redis_url=settings.get("redis_url", redis.url), **settings)
            found.append(Worker(await stack.enter_async_context(running(app)), embed))
        yield found


async def test_a_link_minted_by_one_worker_is_handed_out_by_the_others(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with workers(3, kombo, redis_server) as (first, second, third):
        answers = [await worker.ask() for worker in (first, second, third)]
    assert [answer.content for answer in answers] == [answers[0].content] * 3
    assert answers[0].headers["cache-status"] == "kombo-embed; fwd=uri-miss; stored"
    assert answers[1].headers["cache-status"].startswith("kombo-embed; hit; ttl=3")
    assert minted(sandbox) == 1
