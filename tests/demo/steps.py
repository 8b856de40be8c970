"""Steps of a person at the demo, without its page."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import httpx

from kombo_embed.sandbox import Sandbox

Visit = Callable[..., Awaitable[httpx.AsyncClient]]


async def connect(client: httpx.AsyncClient, sandbox: Sandbox, tool: str) -> None:
    """Connect a tool as a person does with the page and the Connect page."""
    link = (await client.post("/kombo/links", json={})).json()["link"]
    completion = await sandbox.complete(link, tool)
    body = {"activation_token": completion.activation_token}
    assert (await client.post("/kombo/completions", json=body)).is_success


async def events_of(
    client: httpx.AsyncClient, count: int, *, types: Collection[str] = ("integration.connected",)
) -> list[dict[str, Any]]:
    """Return the events of these types (ours or Kombo's) as soon as there are this many."""
    async with asyncio.timeout(30):
        while True:
            events: list[dict[str, Any]] = (await client.get("/events")).json()["events"]
            found = [event for event in events if event.get("kombo_type", event["type"]) in types]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)
