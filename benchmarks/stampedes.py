"""Targets 5 and 6: all first requests of one end user at once, over several processes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from benchmarks.bench import Bench
from benchmarks.loader import run_load
from benchmarks.processes import Server, running_redis
from benchmarks.report import Bound, Line, spread
from benchmarks.requests import link_request

DELAY_MS = 200  # of the fake Kombo
LONG_DELAY_MS = 2000  # long enough to kill the process that waits for it
CALL_SECONDS = 30  # within which the first call to Kombo is made


async def measure_alone(bench: Bench) -> list[Line]:
    """Measure processes without Redis: each mints a link of its own."""
    lines = []
    for workers in bench.effort.workers:
        lines += await _measure(bench, workers, how="without Redis", calls=workers)
    return lines


async def measure_redis(bench: Bench) -> list[Line]:
    """Measure processes that share a Redis, and kill the one that holds the lease."""
    lines, several = [], [workers for workers in bench.effort.workers if workers > 1]
    async with running_redis(bench.folder) as url:
        for workers in several:
            lines += await _measure(bench, workers, how="with Redis", calls=1, KOMBO_REDIS_URL=url)
        return [*lines, await _measure_kill(bench, several[0], url)]


async def _measure(bench: Bench, workers: int, *, how: str, calls: int, **environment: str) -> list[Line]:
    run = f"{how}-{workers}".replace(" ", "-")
    url, counts, beyond, errors = bench.upstream_url(run, delay_ms=DELAY_MS), [0], [], 0
    async with _running(bench, [url] * workers, KOMBO_ENVIRONMENT=run, **environment) as servers:
        for number in range(max(1, bench.effort.rounds // 2)):
            requests = [link_request(number)] * bench.effort.burst
            load = await run_load([one.port for one in servers], requests, connections=len(requests))
            counts += await bench.upstream_calls(run)
            beyond.append(load.slowest_seconds * 1000 - DELAY_MS)
            errors += load.failures(200)
    made = [after - before for before, after in itertools.pairwise(counts)]
    what = f"{bench.effort.burst} concurrent first requests, {workers} worker{'s'[: workers - 1]} {how}"
    failed = f"{what}: {errors} requests failed" if errors else ""
    slowest = f"ms of the slowest beyond the upstream's {DELAY_MS}: {what}"
    return [
        Line(
            target=5,
            what=f"upstream calls: {what}",
            bound=Bound("=", calls),
            unit="calls",
            measured=spread([max(made, key=lambda count: abs(count - calls))]),  # the worst stampede decides
            details={"calls": made, "errors": errors},
            failed=failed,
        ),
        Line(
            target=6, what=slowest, bound=Bound("<=", 800), unit="ms", measured=spread(beyond), failed=failed
        ),
    ]


async def _measure_kill(bench: Bench, workers: int, redis_url: str) -> Line:
    """Kill the holder of the lease; each process has an upstream of its own, which identifies the holder."""
    runs = [f"kill-{number}" for number in range(workers)]
    urls = [bench.upstream_url(run, delay_ms=LONG_DELAY_MS) for run in runs]
    requests = [link_request()] * bench.effort.burst
    async with _running(bench, urls, KOMBO_ENVIRONMENT="kill", KOMBO_REDIS_URL=redis_url) as servers:
        ports = [one.port for one in servers]
        loading = asyncio.create_task(run_load(ports, requests, connections=len(requests)))
        async with asyncio.timeout(CALL_SECONDS):
            while not any(calls := await bench.upstream_calls(*runs)):
                pass
        servers[calls.index(max(calls))].process.kill()
        load = await loading
    errors = load.statuses.total() - load.statuses[200]
    what = (
        f"{len(requests)} concurrent first requests, {workers} workers with Redis, the lease's holder killed"
    )
    return Line(
        target=5,
        what=f"upstream calls: {what}",
        bound=Bound("<=", 2),
        unit="calls",
        measured=spread([sum(await bench.upstream_calls(*runs))]),
        details={"statuses": dict(load.statuses), "lost": load.lost},
        remark=f"holder killed: {load.statuses[200]} answered, {load.lost} lost with its connections, "
        f"{errors} errors, the slowest after {load.slowest_seconds:.1f} s",
        failed=f"{what}: {errors} requests failed" if errors else "",
    )


@asynccontextmanager
async def _running(bench: Bench, urls: list[str], **environment: str) -> AsyncIterator[list[Server]]:
    """Run the processes of one deployment, each with its own URL of Kombo."""
    shared = {"KOMBO_DATABASE_URL": bench.database_url(), **environment}
    async with AsyncExitStack() as stack:
        starting = [bench.start(stack, "apps:mounted", **shared, KOMBO_API_URL=url) for url in urls]
        yield await asyncio.gather(*starting)
