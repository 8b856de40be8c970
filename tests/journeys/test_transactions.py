"""Locked and interrupted transactions of the app's own database."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import httpx

from tests.support import DATABASE, make_host, running, webhook_request


def created(number: int) -> dict[str, Any]:
    data = {"id": f"personio:{number}", "tool": "personio"}
    return webhook_request(f"event-{number}", "integration-created", data)


async def test_while_another_process_holds_the_write_lock_all_calls_get_503_after_one_wait(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        other = sqlite3.connect(DATABASE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        started = asyncio.get_running_loop().time()
        async with asyncio.timeout(25):  # one after the other they would wait for 200 seconds
            responses = await asyncio.gather(
                *(client.post("/kombo/webhooks", **created(number)) for number in range(40))
            )
        assert asyncio.get_running_loop().time() - started > 4.5  # the lock may end meanwhile
        other.execute("ROLLBACK")
        other.close()
        assert {response.status_code for response in responses} == {503}
        assert {response.headers["retry-after"] for response in responses} == {"5"}
        assert (await client.post("/kombo/webhooks", **created(0))).status_code == 204


async def test_requests_cancelled_during_a_transaction_leave_the_database_usable(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        for number in range(80):
            task = asyncio.create_task(client.post("/kombo/webhooks", **created(number)))
            # Each moment of a transaction; its steps run in a thread of the driver, so no event marks them.
            await asyncio.sleep(number % 40 * 0.0003)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            later = await client.post("/kombo/webhooks", **created(10_000 + number))
            assert later.status_code == 204, number
        with closing(sqlite3.connect(DATABASE, timeout=1)) as other, other:
            other.execute("BEGIN IMMEDIATE")
            other.rollback()
