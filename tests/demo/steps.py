"""What the tests of the demo do in its page's place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import httpx

from kombo_embed.sandbox import Sandbox

Visit = Callable[..., Awaitable[httpx.AsyncClient]]


async def connect(client: httpx.AsyncClient, sandbox: Sandbox, tool: str) -> None:
    """Connect a tool as the page, the Connect page and the person in front of both would."""
    link = (await client.post("/kombo/links", json={})).json()["link"]
    completion = await sandbox.complete(link, tool)
    body = {"activation_token": completion.activation_token}
    assert (await client.post("/kombo/completions", json=body)).is_success


async def events_of(
    client: httpx.AsyncClient, count: int, *, types: Collection[str] = ("integration.connected",)
) -> list[dict[str, Any]]:
    """The events of these types, or of these names of Kombo's, as soon as there are this many."""
    async with asyncio.timeout(30):
        while True:
            events: list[dict[str, Any]] = (await client.get("/events")).json()["events"]
            found = [event for event in events if event.get("kombo_type", event["type"]) in types]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)
