"""Real uvicorn processes that share a Redis and a database, called over real sockets.

``LINKS_SOAK=1`` runs them at full size.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.redis_server import RedisServer
from tests.support import API_KEY, WEBHOOK_SECRET, eventually, free_port, minted, order_fault, person, served

soak = pytest.mark.skipif(not os.environ.get("LINKS_SOAK"), reason="full size, with LINKS_SOAK=1")
ROUNDS = 100
UNLIMITED = "100000/second"  # one end user makes all the requests
ROOT = Path(__file__).parents[2]
HOST = """
from starlette.applications import Starlette
from kombo_embed import KomboEmbed
from tests.support import end_user_from_header
app = Starlette()
KomboEmbed(end_user=end_user_from_header).install(app)
"""
REQUEST = (
    b"POST /kombo/links HTTP/1.1\r\nHost: localhost\r\nX-Person: %b\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
)


@dataclass
class Process:
    """A host in one process, or in several on one port."""

    port: int
    process: asyncio.subprocess.Process

    async def request_link(self, who: str = "ada@acme") -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(REQUEST % who.encode())
        response = await reader.read()
        writer.close()
        return response


@asynccontextmanager
async def processes(
    kombo_url: str, redis: RedisServer, folder: Path, *, count: int = 1, workers: int = 1
) -> AsyncIterator[list[Process]]:
    (folder / "host.py").write_text(HOST, encoding="utf-8")
    async with AsyncExitStack() as stack:
        yield await asyncio.gather(
            *(
                stack.enter_async_context(_process(kombo_url, redis, folder, workers=workers))
                for _ in range(count)
            )
        )


@asynccontextmanager
async def _process(
    kombo_url: str, redis: RedisServer, folder: Path, *, workers: int
) -> AsyncIterator[Process]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "host:app", "--port", str(port), "--workers", str(workers)),
        *("--log-level", "warning", "--no-access-log", "--backlog", "4096"),
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KOMBO_API_KEY": API_KEY,
            "KOMBO_API_URL": f"{kombo_url}/v1",
            "KOMBO_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "KOMBO_REDIS_URL": redis.url,
            "KOMBO_LINK_RATE": UNLIMITED,
            "KOMBO_COMPLETION_RATE": UNLIMITED,
        },
    )
    try:
        await eventually(lambda: _listens(port), seconds=60)
        yield Process(port, process)
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(30):
            await process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def started_workers(redis: RedisServer) -> int:
    """Return how many workers check Redis periodically."""
    return redis.reply("CLIENT", "LIST").count(b"cmd=evalsha")


async def test_two_processes_share_mints_and_invalidations_and_one_survives_the_other(
    sandbox: Sandbox, redis_server: RedisServer, tmp_path: Path
) -> None:
    """One test, because starting the processes takes most of its time."""
    async with (
        served(sandbox.app) as kombo_url,
        processes(kombo_url, redis_server, tmp_path, count=2) as (first, second),
    ):
        await order_fault(sandbox, "create-link", "slow", seconds=0.2)
        responses = await asyncio.gather(
            *(host.request_link() for host in (first, second) for _ in range(100))
        )
        assert len(links_in(responses)) == 1
        assert minted(sandbox) == 1
        await completions_invalidate_links(sandbox, first, second, times=3)
        await a_killed_process_costs_one_more_call(sandbox, first, second)


@soak
@pytest.mark.parametrize("count", [1, 2, 4, 8])
async def test_a_thousand_concurrent_first_requests_to_all_processes_are_one_call_to_kombo(
    count: int,
    sandbox: Sandbox,
    redis_server: RedisServer,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    async with (
        served(sandbox.app) as kombo_url,
        processes(kombo_url, redis_server, tmp_path, workers=count) as (host,),
    ):
        await eventually(lambda: started_workers(redis_server) >= count, seconds=60)
        for number in range(ROUNDS):
            await order_fault(sandbox, "create-link", "slow", seconds=0.2)
            responses = await asyncio.gather(*(host.request_link(f"p{number}@acme") for _ in range(1000)))
            assert len(links_in(responses)) == 1
            assert minted(sandbox) == number + 1
    record_property(
        "figure", f"{count} worker{'s' * (count > 1)}, {ROUNDS} rounds of 1,000 requests: 1 call each"
    )


@soak
async def test_after_any_process_is_killed_during_a_mint_the_others_need_one_more_call(
    sandbox: Sandbox, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with (
        served(sandbox.app) as kombo_url,
        processes(kombo_url, redis_server, tmp_path, count=4) as several,
    ):
        await completions_invalidate_links(sandbox, several[0], several[1], times=100)
        for killed, *others in (several, several[1:], several[2:]):
            await a_killed_process_costs_one_more_call(sandbox, killed, *others)


async def completions_invalidate_links(
    sandbox: Sandbox, first: Process, second: Process, *, times: int
) -> None:
    """A completion in one process invalidates the links of the other."""
    url = f"http://127.0.0.1:{first.port}"
    async with httpx.AsyncClient(base_url=url, headers=person("ada@acme")) as ada:
        for number in range(times):
            old = links_in([await second.request_link("grace@acme"), await first.request_link("grace@acme")])
            assert len(old) == 1
            link = (await ada.post("/kombo/links", json={})).json()["link"]
            flow = await sandbox.complete(link, f"tool-{number}")
            token = {"activation_token": flow.activation_token}
            assert (await ada.post("/kombo/completions", json=token)).status_code == 201
            assert not links_in([await second.request_link("grace@acme")]) & old


async def a_killed_process_costs_one_more_call(sandbox: Sandbox, killed: Process, *others: Process) -> None:
    before, who = minted(sandbox), f"user@{killed.port}"
    await order_fault(sandbox, "create-link", "slow", seconds=8)
    lost = asyncio.create_task(killed.request_link(who))
    await eventually(lambda: minted(sandbox) == before + 1)
    waiting = [asyncio.create_task(host.request_link(who)) for host in others for _ in range(20)]
    killed.process.send_signal(signal.SIGKILL)
    assert len(links_in(await asyncio.gather(*waiting))) == 1
    await asyncio.gather(lost, return_exceptions=True)
    assert minted(sandbox) == before + 2


def links_in(responses: Sequence[bytes]) -> set[bytes]:
    """Return the distinct links in these responses, all of which must have succeeded."""
    assert {response[:15] for response in responses} == {b"HTTP/1.1 200 OK"}
    return {response.partition(b"\r\n\r\n")[2] for response in responses}
