"""The app with its database, traced in a process of its own: ``python -m tests.faults.durable_writer 20``.

It connects so many customers and receives as many webhooks. What is answered 2xx is written to
``acknowledged``, a line each, in the current folder. The process ends without closing the database.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

import httpx

from kombo_embed.sandbox import Sandbox
from tests.support import API_KEY, WEBHOOK_SECRET, make_host, person, running, webhook_request

AT_ONCE = 4


async def connect(client: httpx.AsyncClient, sandbox: Sandbox, number: int, acknowledged: int) -> None:
    """Connect a customer's tool, and receive an event about it."""
    who = person(f"ada@customer-{number}")
    link = (await client.post("/kombo/links", headers=who, json={})).json()["link"]
    flow = await sandbox.complete(link, "personio")
    token = {"activation_token": flow.activation_token}
    if (await client.post("/kombo/completions", headers=who, json=token)).is_success:
        os.write(acknowledged, f"{flow.integration_id}\n".encode())
    event_id = f"event-{number}"
    data = {"integration_id": flow.integration_id}
    if (await client.post("/kombo/webhooks", **webhook_request(event_id, "sync-finished", data))).is_success:
        os.write(acknowledged, f"{event_id}\n".encode())


async def main(count: int) -> None:
    """Connect so many customers, some at once."""
    sandbox = Sandbox(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET)
    acknowledged = os.open("acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    app, _ = make_host(httpx.ASGITransport(sandbox.app))
    async with running(app) as client:
        for start in range(0, count, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, count))
            await asyncio.gather(*(connect(client, sandbox, number, acknowledged) for number in numbers))
        os._exit(0)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(main(int(sys.argv[1])))
