"""``python -m benchmarks.growth_lists``: what invalidations and lists cost as the tables grow.

Each row is CPU of this process per call at three sizes, and the growth from the first size to the last. The
database's own CPU counts on SQLite, which runs in this process; on PostgreSQL the elapsed time is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import insert, text

from benchmarks.report import spread
from kombo_embed import KomboEmbed
from kombo_embed.clock import SystemClock
from kombo_embed.link_cache.invalidation import InvalidationPoller
from kombo_embed.link_cache.memory import MemoryLinkCache
from kombo_embed.models import EndUser
from kombo_embed.store.database import Database
from kombo_embed.store.store import Store, migrate
from kombo_embed.store.tables import integrations, link_invalidations
from tests.postgres import find_binaries, running_postgres
from tests.store.samples import NOW, created
from tests.store.test_lists import row
from tests.support import make_settings

INVALIDATIONS, INTEGRATIONS = (10_000, 100_000, 400_000), (10, 500, 5_000)
OTHERS = 20_000  # integrations of other organizations
SMOKE = 100  # the sizes are divided by it for a short run
CALLS, ROUNDS = 20, 3
Work = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Growth:
    """One row of the table: milliseconds per call at each size."""

    what: str
    sizes: Sequence[int]
    milliseconds: Sequence[float]

    def as_row(self) -> str:
        """Return the row for the table."""
        cells = " | ".join(f"{value:.3f}" for value in self.milliseconds)
        sizes = " / ".join(f"{size:,}" for size in self.sizes)
        return f"| {self.what} | {sizes} | {cells} | {self.milliseconds[-1] / self.milliseconds[0]:.2f}x |"


async def measure_invalidations(new_url: Callable[[], str], sizes: Sequence[int]) -> list[Growth]:
    """Measure a webhook event, a start and a poll with so many invalidations in the database."""
    found: dict[str, list[float]] = {}
    for size in sizes:
        url = new_url()
        await migrate(url)
        change = {"environment": "default", "origin_id": "acme", "dropped_at": NOW, "only_lists": False}
        await _fill(url, link_invalidations, [change | {"drop_id": str(number)} for number in range(size)])
        async with _polling(url) as (store, poller):
            numbers = itertools.count()
            works: dict[str, Work] = {
                "webhook event": lambda: _connect(store, next(numbers), origin_id="other"),  # noqa: B023 - awaited here
                "start of a worker": lambda: _start_and_stop(poller),
                "poll without news": poller.poll,
            }
            for name, work in works.items():
                found.setdefault(name, []).append(await _measure(work, url))
    return [Growth(f"{what}, invalidations in the table", sizes, values) for what, values in found.items()]


async def measure_lists(new_url: Callable[[], str], sizes: Sequence[int]) -> list[Growth]:
    """Measure the lists of an organization with so many integrations."""
    found: dict[str, list[float]] = {}
    for size in sizes:
        url = new_url()
        await migrate(url)
        rows = [row(number, duplicate_told_at=NOW) for number in range(size)]
        others = [row(number, origin_id=f"o-{number}") for number in range(size, size + OTHERS)]
        await _fill(url, integrations, rows + others)
        embed = KomboEmbed(end_user=_ada, settings=make_settings(database_url=url))
        async with embed, _polling(url) as (store, _):
            tag = (await _get(embed, "/integrations?limit=10"))["etag"]
            numbers = itertools.count(10**6)
            works: dict[str, Work] = {
                "page of 10": lambda: _get(embed, "/integrations?limit=10"),  # noqa: B023 - awaited here
                "304": lambda: _get(embed, "/integrations?limit=10", tag),  # noqa: B023 - as above
                "filtered page": lambda: _get(embed, "/integrations?limit=10&next_action=reconnect"),  # noqa: B023
                "guard": lambda: store.find_connected("acme", tool="personio", category="HRIS"),
                "catalogue's tools": lambda: store.connected_tools("acme", "HRIS"),
                "duplicate": lambda: _connect(store, next(numbers), origin_id="acme"),  # noqa: B023
            }
            for name, work in works.items():
                found.setdefault(name, []).append(await _measure(work, url))
    return [
        Growth(f"{what}, integrations of the organization", sizes, values) for what, values in found.items()
    ]


async def _measure(work: Work, url: str) -> float:
    """Return the milliseconds of a call: the median of several rounds, after one to warm up."""
    clock = time.process_time if url.startswith("sqlite") else time.perf_counter
    taken = []
    for _ in range(ROUNDS + 1):
        started = clock()
        for _ in range(CALLS):
            await work()
        taken.append((clock() - started) * 1000 / CALLS)
    return spread(taken[1:]).median


async def _start_and_stop(poller: InvalidationPoller) -> None:
    await poller.start()
    await poller.aclose()


async def _connect(store: Store, number: int, *, origin_id: str) -> None:
    event, report = created(f"event-{number}", category="HRIS", origin_id=origin_id)
    await store.save_event(event, replace(report, integration_id=f"personio:new-{number}"))


@asynccontextmanager
async def _polling(url: str) -> AsyncIterator[tuple[Store, InvalidationPoller]]:
    clock = SystemClock()
    store = Store(url, environment="default", clock=clock)
    await store.open()
    cache = MemoryLinkCache(size=1000, lifetime_seconds=3600, clock=clock)
    poller = InvalidationPoller(
        store.invalidations, cache, environment="default", lifetime_seconds=3600, clock=clock
    )
    store.apply_invalidations_by(poller.apply)
    try:
        yield store, poller
    finally:
        await store.aclose()


async def _fill(url: str, table: Any, rows: list[dict[str, object]]) -> None:  # noqa: ANN401 - a Table
    database = Database(url, busy_seconds=300)
    async with database.writing() as connection:
        for start in range(0, len(rows), 10_000):
            await connection.execute(insert(table), rows[start : start + 10_000])
    async with database.writing() as connection:
        await connection.execute(text("ANALYZE"))
    await database.aclose()


async def _ada(_connection: object) -> EndUser:
    return EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")


async def _get(embed: KomboEmbed, target: str, etag: str = "") -> dict[str, str]:
    """Call the app without a server, and return the headers of its response."""
    path, _, query = target.partition("?")
    headers = [(b"if-none-match", etag.encode())] if etag else []
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": headers,
    }
    sent: list[Any] = []

    async def receive() -> Any:  # noqa: ANN401 - an ASGI message
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:  # noqa: ANN401 - as above
        sent.append(message)

    await embed.app({**scope, "root_path": "", "scheme": "http", "headers": headers}, receive, send)
    if sent[0]["status"] != (304 if etag else 200):
        raise RuntimeError(sent)
    return {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def measure(new_url: Callable[[], str], *, divide_by: int = 1) -> list[Growth]:
    """Measure everything on one kind of database; ``new_url`` makes a new one."""
    events, lists = [[max(2, size // divide_by) for size in sizes] for sizes in (INVALIDATIONS, INTEGRATIONS)]
    return [
        *asyncio.run(measure_invalidations(new_url, events)),
        *asyncio.run(measure_lists(new_url, lists)),
    ]


def main() -> None:
    """Measure on SQLite and PostgreSQL, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth_lists", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="small sizes, to see that it runs")
    divide_by = SMOKE if parser.parse_args().smoke else 1
    numbers = itertools.count()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        _print("SQLite, CPU", measure(lambda: f"sqlite+aiosqlite:///{next(numbers)}.db", divide_by=divide_by))
        binaries = find_binaries()
        if binaries is not None:
            with running_postgres(binaries) as server:
                urls = iter([server.url(server.create_database()) for _ in range(6)])
                _print("PostgreSQL, elapsed", measure(lambda: next(urls), divide_by=divide_by))


def _print(title: str, rows: list[Growth]) -> None:
    print(
        f"| {title}, ms per call | sizes | first | second | third | growth |",
        "|---|---|---|---|---|---|",
        sep="\n",
    )
    print(*(one.as_row() for one in rows), sep="\n", end="\n\n", flush=True)


if __name__ == "__main__":
    main()
