"""Targets 1 to 4, 8 and 16: cached links, mints, and what a refusal costs."""

from __future__ import annotations

import asyncio
import json

from benchmarks.bench import Bench, Side, ratio
from benchmarks.report import Bound, Line
from benchmarks.requests import link_request, link_request_with_token, webhook

UPSTREAM_CONNECTIONS = 8  # for what calls Kombo on every request
BY_HAND = "cached link, {} / FastAPI + SessionMiddleware + TTLCache by hand"
CONSTANT = "CPU of a cached link, {} / Starlette route with the same login that answers a constant"
BEARER = "cached link, RS256 bearer / constant route behind joserfc's verification alone"
SDK = "CPU of Kombo's SDK called on every request / cached link"
MINT = "CPU of a mint / {}"
REFUSED = "CPU of refusing {} / accepting a good one"
UNKNOWN_FIELDS = json.dumps({f"f{number:03}": 0 for number in range(700)}).encode()  # below 8 KiB


async def measure_cached(bench: Bench) -> list[Line]:
    """Compare both forms with a constant route and with a cache written by hand."""
    apps = ("apps:mounted", "apps:middleware", "apps:constant", "by_hand:create_app")
    mounted, middleware, constant, by_hand = await _sides(bench, [link_request()], *apps)
    await bench.compare(mounted, middleware, constant, by_hand)
    limit = Bound("<=", 1.5)
    return [
        ratio(1, BY_HAND.format("mounted"), Bound(">=", 1.3), mounted, by_hand, by="rate"),
        ratio(1, BY_HAND.format("middleware form"), None, middleware, by_hand, by="rate"),
        ratio(2, CONSTANT.format("mounted"), limit, mounted, constant),
        ratio(2, CONSTANT.format("middleware form"), limit, middleware, constant),
    ]


async def measure_bearer(bench: Bench) -> list[Line]:
    """Compare a cached link behind a bearer token with joserfc's verification alone."""
    apps = ("apps:bearer", "apps:constant_behind_joserfc")
    ours, alone = await _sides(bench, [link_request_with_token()], *apps, KOMBO_AUTH="bearer")
    await bench.compare(ours, alone)
    return [ratio(3, BEARER, Bound(">=", 0.85), ours, alone, by="rate")]


async def measure_sdk(bench: Bench) -> list[Line]:
    """Compare a cached link with the SDK called on every request."""
    sdk, ours = await _sides(bench, [link_request()], "apps:sdk", "apps:middleware")
    await bench.compare(sdk, ours, connections=UPSTREAM_CONNECTIONS)
    return [ratio(4, SDK, Bound(">=", 25), sdk, ours)]


async def measure_mints(bench: Bench) -> list[Line]:
    """Compare mints with a call and an insert by hand, and with the SDK; each connection is an end user."""
    requests = [link_request(number, b'{"fresh":true}') for number in range(UPSTREAM_CONNECTIONS)]
    ours, by_hand, sdk = await _sides(bench, requests, "apps:mounted", "by_hand:mint_and_insert", "apps:sdk")
    await bench.compare(ours, by_hand, sdk, connections=UPSTREAM_CONNECTIONS)
    call = "one pooled httpx call and one durable insert by hand"
    return [
        ratio(8, MINT.format(call), Bound("<=", 1.5), ours, by_hand),
        ratio(8, MINT.format("a call of Kombo's SDK, nothing recorded"), Bound("<=", 0.5), ours, sdk),
    ]


async def measure_refusals(bench: Bench) -> list[Line]:
    """Compare requests that must be refused with good ones, on the same server."""
    mounted = await bench.server("apps:mounted")
    bearer = await bench.server("apps:bearer", KOMBO_AUTH="bearer")
    good, wrong_secret = link_request(), webhook(0, "another one")
    forged_cookie = good.replace(b"session=", b"session=X")
    token, forged_token = link_request_with_token(), link_request_with_token(forged=True)
    cases = {
        "a bearer token with a wrong signature": (Side(bearer, [forged_token], 401), Side(bearer, [token])),
        "a forged session cookie": (Side(mounted, [forged_cookie], 401), Side(mounted, [good])),
        "a webhook with a wrong signature": (
            Side(mounted, [wrong_secret], 401),
            Side(mounted, [webhook(0)], 204),
        ),
        "a body with 700 unknown fields": (
            Side(mounted, [link_request(1, UNKNOWN_FIELDS)], 422),
            Side(mounted, [good]),
        ),
    }
    lines = []
    for what, (refused, accepted) in cases.items():
        await bench.compare(refused, accepted)
        bound = Bound("<=", 3 if "body" in what else 1.2)
        lines.append(ratio(16, REFUSED.format(what), bound, refused, accepted))
    return lines


async def _sides(bench: Bench, requests: list[bytes], *apps: str, **environment: str) -> list[Side]:
    servers = await asyncio.gather(*(bench.server(app, **environment) for app in apps))
    return [Side(server, requests) for server in servers]
