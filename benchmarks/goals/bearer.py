"""Goal 4: a cached link behind a bearer token, against the constant route behind joserfc alone."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.figures import Bound
from benchmarks.lines import Line
from benchmarks.paired import Goal, Side, compare, rate_line, repeating
from benchmarks.processes import Worker
from benchmarks.tokens import ALGORITHM, AUDIENCE, ISSUER, Issuer
from benchmarks.wire import ask_for_link_with_token

AT_LEAST, STRETCH = 0.85, 0.95
WHAT = f"cached link, {ALGORITHM} bearer / the constant route with joserfc's verification alone"


async def measure(bench: Bench) -> list[Line]:
    """Compare a cached link with the constant route, both behind the same token."""
    issuer = Issuer.create()
    requests = repeating(ask_for_link_with_token(issuer.token(1)))
    goal = Goal(number=4, what=WHAT, bound=Bound("at least", AT_LEAST), stretch=STRETCH)
    names = {"ours": "ours_by_settings", "joserfc alone": "joserfc_constant"}
    sides = [
        Side(name=name, worker=await bearer_worker(bench, app, issuer), requests=requests)
        for name, app in names.items()
    ]
    ours, alone = await compare(bench, sides)
    return [rate_line(goal, ours, alone)]


async def bearer_worker(bench: Bench, app: str, issuer: Issuer) -> Worker:
    """An app that trusts this issuer."""
    key_set_url = await bench.publish(issuer.key_set())
    return await bench.worker(
        app,
        BENCH_KEY_SET=issuer.key_set(),
        BENCH_ISSUER=ISSUER,
        BENCH_AUDIENCE=AUDIENCE,
        KOMBO_AUTH="bearer",
        KOMBO_OIDC_ISSUER=ISSUER,
        KOMBO_OIDC_AUDIENCE=AUDIENCE,
        KOMBO_JWKS_URL=key_set_url,
    )
