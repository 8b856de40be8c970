"""Targets 1 to 6, 8, 16 and 20: cached links, stampedes, mints, and what refusals and telemetry cost."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from benchmarks.bench import Bench, Side, ratio
from benchmarks.loader import run_load
from benchmarks.processes import Server, running_redis
from benchmarks.report import Line, spread
from benchmarks.requests import link_request, link_request_with_token, webhook

UPSTREAM_CONNECTIONS = 8  # for what calls Kombo on every request
BY_HAND = "cached link, mounted / FastAPI + SessionMiddleware + TTLCache by hand"
CONSTANT = "CPU of a cached link, mounted / Starlette route with the same login that answers a constant"
BEARER = "cached link, RS256 bearer / constant route behind joserfc's verification alone"
SDK = "CPU of Kombo's SDK called on every request / cached link"
MINT = "CPU of a mint / {}"
NOT_SET_UP = "CPU of a cached link, OpenTelemetry's API present but not set up / absent"
RECORDED = "CPU of a cached link, recorded by OpenTelemetry's SDK, not exported / API absent"
REFUSED = "CPU of refusing {} / accepting a good one"
UNKNOWN_FIELDS = json.dumps({f"f{number:03}": 0 for number in range(700)}).encode()  # below 8 KiB
DELAY_MS = 200  # of the fake Kombo
LONG_DELAY_MS = 2000  # long enough to kill the process that waits for it
CALL_SECONDS = 30  # within which the first call to Kombo is made


async def measure_cached(bench: Bench) -> list[Line]:
    """Compare with a constant route and with a cache written by hand."""
    apps = ("apps:mounted", "apps:constant", "by_hand:create_app")
    ours, constant, by_hand = await _sides(bench, [link_request()], *apps)
    await bench.compare(ours, constant, by_hand)
    return [
        ratio(1, BY_HAND, (">=", 1.3), ours, by_hand, by="rate"),
        ratio(2, CONSTANT, ("<=", 1.5), ours, constant),
    ]


async def measure_telemetry(bench: Bench) -> list[Line]:
    """Compare a cached link with and without OpenTelemetry."""
    names = ("mounted", "mounted_without_opentelemetry", "mounted_with_sdk")
    present, absent, recorded = await _sides(bench, [link_request()], *(f"apps:{name}" for name in names))
    await bench.compare(present, absent, recorded)
    return [
        ratio(20, NOT_SET_UP, ("<=", 1.03), present, absent),
        ratio(20, RECORDED, None, recorded, absent),
    ]


async def measure_bearer(bench: Bench) -> list[Line]:
    """Compare a cached link behind a bearer token with joserfc's verification alone."""
    apps = ("apps:mounted", "apps:constant_behind_joserfc")
    ours, alone = await _sides(bench, [link_request_with_token()], *apps, KOMBO_AUTH="bearer")
    await bench.compare(ours, alone)
    return [ratio(3, BEARER, (">=", 0.85), ours, alone, by="rate")]


async def measure_sdk(bench: Bench) -> list[Line]:
    """Compare a cached link with the SDK called on every request."""
    sdk, ours = await _sides(bench, [link_request()], "apps:sdk", "apps:mounted")
    await bench.compare(sdk, ours, connections=UPSTREAM_CONNECTIONS)
    return [ratio(4, SDK, (">=", 25), sdk, ours)]


async def measure_stampedes(bench: Bench) -> list[Line]:
    """Measure processes without Redis: each mints a link of its own."""
    measured = [await _stampedes(bench, n, how="without Redis", calls=n) for n in bench.effort.workers]
    return list(itertools.chain(*measured))


async def measure_stampedes_with_redis(bench: Bench) -> list[Line]:
    """Measure processes that share a Redis, and kill the one that holds the lease."""
    lines, several = [], [workers for workers in bench.effort.workers if workers > 1]
    async with running_redis() as url:
        for workers in several:
            lines += await _stampedes(bench, workers, how="with Redis", calls=1, KOMBO_REDIS_URL=url)
        return [*lines, await _killed_holder(bench, several[0], url)]


async def _stampedes(bench: Bench, workers: int, *, how: str, calls: int, **environment: str) -> list[Line]:
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
    worst = spread([max(made, key=lambda count: abs(count - calls))])  # one wrong stampede is enough
    what = f"{bench.effort.burst} concurrent first requests, {workers} worker{'s'[: workers - 1]} {how}"
    failed = f"{what}: {errors} requests failed" if errors else ""
    details: dict[str, object] = {"calls": made, "errors": errors}
    slowest = f"slowest beyond the upstream's {DELAY_MS} ms: {what}"
    return [
        Line(5, f"upstream calls: {what}", ("=", calls), worst, unit="calls", details=details, failed=failed),
        Line(6, slowest, ("<=", 800), spread(beyond), unit="ms", failed=failed),
    ]


async def _killed_holder(bench: Bench, workers: int, redis_url: str) -> Line:
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
    errors, answered = load.failures(200) - load.lost, load.statuses[200]
    what = f"{len(requests)} concurrent first requests, {workers} workers with Redis, lease holder killed"
    remark = f"holder killed: {answered} answered, {load.lost} lost with its connections, {errors} failed"
    made, failed = spread([sum(await bench.upstream_calls(*runs))]), remark if errors else ""
    return Line(5, f"upstream calls: {what}", ("<=", 2), made, unit="calls", remark=remark, failed=failed)


@asynccontextmanager
async def _running(bench: Bench, urls: list[str], **environment: str) -> AsyncIterator[list[Server]]:
    """Run the processes of one deployment, each with its own URL of Kombo."""
    shared = {"KOMBO_DATABASE_URL": bench.database_url(), **environment}
    async with AsyncExitStack() as stack:
        starting = [bench.start(stack, "apps:mounted", **shared, KOMBO_API_URL=url) for url in urls]
        yield await asyncio.gather(*starting)


async def measure_mints(bench: Bench) -> list[Line]:
    """Compare mints with a call and an insert by hand, and with the SDK; each connection is an end user."""
    requests = [link_request(number, b'{"fresh":true}') for number in range(UPSTREAM_CONNECTIONS)]
    ours, by_hand, sdk = await _sides(bench, requests, "apps:mounted", "by_hand:mint_and_insert", "apps:sdk")
    await bench.compare(ours, by_hand, sdk, connections=UPSTREAM_CONNECTIONS)
    call = "one pooled httpx call and one durable insert by hand"
    return [
        ratio(8, MINT.format(call), ("<=", 1.5), ours, by_hand),
        ratio(8, MINT.format("a call of Kombo's SDK, nothing recorded"), ("<=", 0.5), ours, sdk),
    ]


async def measure_refusals(bench: Bench) -> list[Line]:
    """Compare requests that must be refused with good ones, on the same server."""
    mounted = await bench.server("apps:mounted")
    bearer = await bench.server("apps:mounted", KOMBO_AUTH="bearer")
    cookie, token, delivery = link_request(), link_request_with_token(), webhook(0)
    forged_token, forged_delivery = link_request_with_token(forged=True), webhook(0, signed=False)
    forged_cookie, bad_body = cookie.replace(b"session=", b"session=X"), link_request(1, UNKNOWN_FIELDS)
    cases: list[tuple[str, float, Side, Side]] = [
        ("a forged bearer token", 1.2, Side(bearer, [forged_token], 401), Side(bearer, [token])),
        ("a forged session cookie", 1.2, Side(mounted, [forged_cookie], 401), Side(mounted, [cookie])),
        ("a forged webhook", 1.2, Side(mounted, [forged_delivery], 401), Side(mounted, [delivery], 204)),
        ("a body with 700 unknown fields", 3, Side(mounted, [bad_body], 422), Side(mounted, [cookie])),
    ]
    lines = []
    for what, at_most, refused, accepted in cases:
        await bench.compare(refused, accepted)
        lines.append(ratio(16, REFUSED.format(what), ("<=", at_most), refused, accepted))
    return lines


async def _sides(bench: Bench, requests: list[bytes], *apps: str, **environment: str) -> list[Side]:
    servers = await asyncio.gather(*(bench.server(app, **environment) for app in apps))
    return [Side(server, requests) for server in servers]
