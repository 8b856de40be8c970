"""Several hosts of one Kombo environment in this process, each like a worker process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from kombo_embed import KomboEmbed
from kombo_embed.sandbox import Sandbox
from tests.redis_server import RedisServer
from tests.support import make_host, person, running

ADA, GRACE = person("ada@acme"), person("grace@acme")


@dataclass
class Worker:
    """One host."""

    client: httpx.AsyncClient
    embed: KomboEmbed

    async def request_link(self, who: dict[str, str] = ADA, **body: Any) -> httpx.Response:
        return await self.client.post("/kombo/links", headers=who, json=body)

    async def link(self, who: dict[str, str] = ADA, **body: Any) -> str:
        response = await self.request_link(who, **body)
        assert response.status_code == 200, response.text
        return str(response.json()["link"])

    async def complete(self, sandbox: Sandbox, link: str, tool: str) -> None:
        flow = await sandbox.complete(link, tool)
        body = {"activation_token": flow.activation_token}
        response = await self.client.post("/kombo/completions", headers=ADA, json=body)
        assert response.status_code == 201, response.text

    async def health(self) -> dict[str, Any]:
        return dict((await self.client.get("/kombo/health")).json())


@asynccontextmanager
async def workers(
    count: int, kombo: httpx.AsyncBaseTransport, redis: RedisServer | None = None, **settings: Any
) -> AsyncIterator[list[Worker]]:
    async with AsyncExitStack() as stack:
        started = []
        for _ in range(count):
            app, embed = make_host(kombo, **{"redis_url": redis and redis.url, **settings})
            started.append(Worker(await stack.enter_async_context(running(app)), embed))
        yield started
