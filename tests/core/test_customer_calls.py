"""A customer's burst of requests leaves connections to Kombo for everyone else."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.support import eventually, make_host, person, running

ADA, EVE = person("ada@acme"), person("eve@other")


class HeldTransport(httpx.AsyncBaseTransport):
    """Holds the calls with this method and part of a path until they are released, and counts them."""

    def __init__(self, peer: httpx.AsyncBaseTransport, method: str, path: str) -> None:
        self._peer, self._method, self._path = peer, method, path
        self.released = asyncio.Event()
        self.held = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == self._method and self._path in request.url.path:
            self.held += 1
            await self.released.wait()
            self.held -= 1
        return await self._peer.handle_async_request(request)


async def connected(client: httpx.AsyncClient, sandbox: Sandbox) -> str:
    link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
    token = {"activation_token": (await sandbox.complete(link, "personio")).activation_token}
    done = await client.post("/kombo/completions", headers=ADA, json=token)
    return str(done.json()["integration"]["id"])


@pytest.mark.integration
async def test_of_a_burst_of_completions_eight_are_exchanged_at_a_time(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    held = HeldTransport(kombo, "GET", "/integration-by-token/")
    app, _ = make_host(held)

    async def complete(person_: dict[str, str], token: str) -> int:
        body = {"activation_token": token}
        return (await client.post("/kombo/completions", headers=person_, json=body)).status_code

    async with running(app) as client, asyncio.TaskGroup() as group:
        burst = [group.create_task(complete(ADA, f"unknown-{number}")) for number in range(100)]
        await eventually(lambda: held.held == 8)
        other = group.create_task(complete(EVE, "unknown"))
        await eventually(lambda: held.held == 9)
        burst[0].cancel()  # its sender left, but the exchange goes on
        held.released.set()
    assert {task.result() for task in (*burst[1:], other)} == {422}
    assert held.held == 0


@pytest.mark.parametrize("senders", [1, 100])
async def test_of_a_burst_of_deletions_eight_are_sent_at_a_time(
    senders: int, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    held = HeldTransport(kombo, "DELETE", "/integrations/")
    app, _ = make_host(held, allow_disconnect=True)
    async with running(app) as client:
        path = f"/kombo/integrations/{await connected(client, sandbox)}"

        async def delete() -> int:
            return (await client.delete(path, headers=ADA)).status_code

        async with asyncio.TaskGroup() as group:
            burst = [group.create_task(delete()) for _ in range(senders)]
            await eventually(lambda: held.held == min(senders, 8))
            held.released.set()
    assert {task.result() for task in burst} <= {204, 404}
    assert burst[0].result() == 204
