"""Goals 6 and 7: one end user, all first requests at once, over some workers, with Redis and without."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from benchmarks.bench import Bench, Load
from benchmarks.figures import Bound, spread
from benchmarks.lines import Line
from benchmarks.processes import START_DEADLINE, Worker
from benchmarks.redis_server import missing_for_redis, running_redis
from benchmarks.wire import ask_for_link

DELAY_MS = 200  # what Kombo takes to answer
LONG_DELAY_MS = 2000  # long enough to be killed in
BEYOND_THE_UPSTREAM, STRETCH = 600, 350  # milliseconds
CALLS_AFTER_A_KILL = 2
BETWEEN_LOOKS = 0.02  # seconds
WHAT = "{burst} first requests at once, {workers} worker{s}, {how}"
KILLED = "{burst} first requests at once, {workers} workers with Redis, the lease's holder killed with -9"


@dataclass(frozen=True, slots=True)
class Stampede:
    """One burst: how often Kombo was called, how it was answered, and how long the slowest took."""

    calls: int
    load: Load

    @property
    def beyond(self) -> float:
        """Milliseconds that the slowest took beyond Kombo's own time."""
        return self.load.slowest * 1000 - DELAY_MS


async def measure(bench: Bench) -> list[Line]:
    """Without Redis, with Redis, with a crash, and what is written by hand."""
    lines = []
    for workers in bench.effort.workers:
        lines += await _lines(bench, workers, how="no Redis", calls=workers)
    several = [workers for workers in bench.effort.workers if workers > 1]
    missing = missing_for_redis()
    if missing:
        what = _what(bench, several[-1], "one Redis")
        lines.append(Line(goal=6, what=what, unit="calls", bound=Bound("exactly", 1), skipped=missing))
    else:
        async with running_redis(bench.folder) as url:
            for workers in several:
                lines += await _lines(bench, workers, how="one Redis", calls=1, KOMBO_REDIS_URL=url)
            lines.append(await _killed(bench, several[0], url))
    return [*lines, *await _by_hand(bench)]


async def _lines(bench: Bench, workers: int, *, how: str, calls: int, **environment: str) -> list[Line]:
    stampedes = [
        await _stampede(bench, "ours_mounted", workers, f"{how}-{workers}-{number}", **environment)
        for number in range(max(1, bench.effort.rounds // 3))
    ]
    what = _what(bench, workers, how)
    slowest = Line(
        goal=7,
        what=f"the slowest answer beyond Kombo's {DELAY_MS} ms: {what}",
        unit="ms",
        bound=Bound("at most", BEYOND_THE_UPSTREAM),
        stretch=STRETCH,
        measured=spread([one.beyond for one in stampedes]),
        remark="all workers share the cores that the loader leaves",
    )
    return [_line_of_calls(what, stampedes, calls), slowest]


def _line_of_calls(what: str, stampedes: list[Stampede], calls: int) -> Line:
    errors = sum(one.load.failures(200) for one in stampedes)
    off = [one.calls for one in stampedes if one.calls != calls]
    return Line(
        goal=6,
        what=what,
        unit="calls",
        bound=Bound("exactly", calls),
        # One stampede that is off counts, however many are not.
        measured=spread([float(off[0] if off else calls)]),
        details={"calls": [one.calls for one in stampedes], "errors": errors},
        remark=f"{errors} requests of {what} failed" if errors else "",
    )


async def _by_hand(bench: Bench) -> list[Line]:
    stampede = await _stampede(bench, "handrolled_cachetools", 1, "by-hand")
    what = _what(bench, 1, "TTLCache by hand")
    failed = stampede.load.failures(200)
    return [
        Line(
            goal=6,
            what=what,
            unit="calls",
            measured=spread([float(stampede.calls)]),
            remark=f"{failed} requests of {what} failed" if failed else "",
        ),
        Line(goal=7, what=f"the slowest: {what}", unit="ms", measured=spread([stampede.beyond])),
    ]


async def _stampede(bench: Bench, app: str, workers: int, run: str, **environment: str) -> Stampede:
    run = run.replace(" ", "-")
    url = await bench.upstream_url(run, delay_ms=DELAY_MS)
    async with AsyncExitStack() as stack:
        started = await _start(bench, stack, app, [url] * workers, KOMBO_ENVIRONMENT=run, **environment)
        ports = [worker.port for worker in started]
        load = await bench.load(ports, [ask_for_link()], connections=bench.effort.burst)
    return Stampede(await bench.calls(run), load)


async def _start(
    bench: Bench, stack: AsyncExitStack, app: str, urls: list[str], **environment: str
) -> list[Worker]:
    """Workers of one deployment, each with its own way to Kombo."""
    shared = {"KOMBO_DATABASE_URL": bench.database_url(), **environment}
    return await asyncio.gather(*(bench.start(stack, app, **shared, KOMBO_API_URL=url) for url in urls))


async def _killed(bench: Bench, workers: int, redis_url: str) -> Line:
    """Each worker calls a Kombo under its own name, so that we see whose call is under way."""
    names = [f"killed-{number}" for number in range(workers)]
    urls = [await bench.upstream_url(name, delay_ms=LONG_DELAY_MS) for name in names]
    async with AsyncExitStack() as stack:
        started = await _start(
            bench, stack, "ours_mounted", urls, KOMBO_ENVIRONMENT="killed", KOMBO_REDIS_URL=redis_url
        )
        ports = [worker.port for worker in started]
        loading = asyncio.ensure_future(bench.load(ports, [ask_for_link()], connections=bench.effort.burst))
        await _kill_the_first_that_calls(bench, dict(zip(names, started, strict=True)))
        load = await loading
    answered = load.statuses.get("200", 0)
    what = KILLED.format(burst=bench.effort.burst, workers=workers)
    return Line(
        goal=6,
        what=what,
        unit="calls",
        bound=Bound("at most", CALLS_AFTER_A_KILL),
        measured=spread([float(sum([await bench.calls(name) for name in names]))]),
        details={"statuses": load.statuses, "lost": load.lost, "slowest_ms": load.slowest * 1000},
        remark=f"{what}: {answered} answered, {load.lost} lost with the killed worker, "
        f"{load.answers - answered} failed, the slowest after {load.slowest:.1f} s",
    )


async def _kill_the_first_that_calls(bench: Bench, workers: dict[str, Worker]) -> None:
    async with asyncio.timeout(START_DEADLINE):
        while True:
            for name, worker in workers.items():
                if await bench.calls(name):
                    worker.child.kill()
                    return
            await asyncio.sleep(BETWEEN_LOOKS)


def _what(bench: Bench, workers: int, how: str) -> str:
    return WHAT.format(burst=bench.effort.burst, workers=workers, s="" if workers == 1 else "s", how=how)
