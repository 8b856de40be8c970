"""Targets 9 to 12: webhooks and completions, against the same written by hand with the same durability."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from contextlib import AsyncExitStack

from benchmarks.bench import Bench, Side, ratio, verify
from benchmarks.loader import run_load
from benchmarks.processes import NotInstalled, Server
from benchmarks.report import Line
from benchmarks.requests import completion, webhook
from tests.postgres import find_binaries, running_postgres

FEW, SENDERS = 4, 20  # connections
# A run is over before an autovacuum that looks every minute, as by default, has told the planner anything.
AUTOVACUUM = {"autovacuum": "on", "autovacuum_naptime": "1s"}
OURS, BY_HAND = "apps:mounted", "by_hand:create_app"
WEBHOOK = "CPU of a new webhook of 2 KB / written by hand (FastAPI, SQLAlchemy asyncio), equally durable"
GROWTH = "CPU of a webhook after {:,} others in the last minute / of the first ones"
COMPLETION = "CPU of a completion, {} / written by hand, equally durable"
THROUGHPUT = "webhooks per second of {} concurrent senders, {} / by hand"


async def measure_webhooks(bench: Bench) -> list[Line]:
    """Compare new webhooks."""
    ours, by_hand = await _sides(bench, webhook, 204)
    await bench.compare(ours, by_hand, connections=FEW)
    return [ratio(9, WEBHOOK, ("<=", 2.5), ours, by_hand)]


async def measure_growth(bench: Bench) -> list[Line]:
    """Compare a server that has just received many webhooks with one that has received few."""
    async with AsyncExitStack() as stack:
        many, few = [await bench.start(stack, OURS) for _ in range(2)]
        others = [webhook(10**9 + number) for number in range(bench.effort.growth)]
        verify(await run_load([many.port], others, connections=FEW), 204)
        late, first = [Side(one, _new(bench, webhook), 204, once=True) for one in (many, few)]
        await bench.compare(late, first, connections=FEW)
    return [ratio(10, GROWTH.format(bench.effort.growth), ("<=", 1.1), late, first)]


async def measure_completions(bench: Bench) -> list[Line]:
    """Compare first completions, and then completions of the same flows again."""
    ours, by_hand = await _sides(bench, completion, 201)
    await bench.compare(ours, by_hand, connections=FEW)
    lines = [ratio(11, COMPLETION.format("first"), ("<=", 2.5), ours, by_hand)]
    again = _new(bench, completion, start=10**9)()
    for side in (ours, by_hand):
        verify(await run_load([side.server.port], again, connections=FEW), 201)
        side.requests, side.status = again, 200
    await bench.compare(ours, by_hand, connections=FEW)
    return [*lines, ratio(11, COMPLETION.format("again"), ("<=", 2.5), ours, by_hand)]


async def measure_sqlite(bench: Bench) -> list[Line]:
    """Compare the throughput of many senders on SQLite."""
    sides = await _sides(bench, webhook, 204, start=2 * 10**9)
    return [await _throughput(bench, "SQLite", *sides)]


async def measure_postgresql(bench: Bench) -> list[Line]:
    """Compare the throughput of many senders on PostgreSQL."""
    binaries = find_binaries()
    if binaries is None:
        raise NotInstalled("PostgreSQL")
    async with AsyncExitStack() as stack:
        # In threads: these run an event loop of their own.
        postgres = await asyncio.to_thread(
            stack.enter_context, running_postgres(binaries, options=AUTOVACUUM)
        )
        sides = []
        for app in (OURS, BY_HAND):
            url = postgres.url(await asyncio.to_thread(postgres.create_database))
            server = await bench.start(stack, app, KOMBO_DATABASE_URL=url)
            sides.append(Side(server, _new(bench, webhook), 204, once=True))
        return [await _throughput(bench, "PostgreSQL", *sides)]


async def _throughput(bench: Bench, database: str, ours: Side, by_hand: Side) -> Line:
    await bench.compare(ours, by_hand, connections=SENDERS)
    return ratio(12, THROUGHPUT.format(SENDERS, database), (">=", 0.6), ours, by_hand, by="rate")


async def _sides(bench: Bench, create: Callable[[int], bytes], status: int, *, start: int = 0) -> list[Side]:
    servers: list[Server] = list(await asyncio.gather(bench.server(OURS), bench.server(BY_HAND)))
    return [Side(server, _new(bench, create, start=start), status, once=True) for server in servers]


def _new(bench: Bench, create: Callable[[int], bytes], *, start: int = 0) -> Callable[[], list[bytes]]:
    """Return a function that creates the next requests on each call, each with another number."""
    numbers = itertools.count(start)
    return lambda: [create(next(numbers)) for _ in range(bench.effort.events)]
