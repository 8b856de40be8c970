"""Goal 4: a cached link behind a bearer token, against the constant route behind joserfc alone."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.figures import Bound
from benchmarks.lines import Line
from benchmarks.paired import Goal, Requests, Side, compare, rate_line, repeating
from benchmarks.processes import Worker
from benchmarks.tokens import ALGORITHM, AUDIENCE, ISSUER, Issuer
from benchmarks.wire import ask_for_link_with_token

REMEMBERS_ONE = {"BENCH_TOKENS_REMEMBERED": "1"}
AT_LEAST, STRETCH = 0.85, 0.95
NEW_TOKENS = 64  # to a worker that remembers one
WHAT = f"cached link, {ALGORITHM} bearer{{}} / the constant route with joserfc's verification alone"


async def measure(bench: Bench) -> list[Line]:
    """One token again and again, as a page sends it; and each token for the first time."""
    issuer = Issuer.create()
    again = repeating(ask_for_link_with_token(issuer.token(1)))
    goal = Goal(number=4, what=WHAT.format(""), bound=Bound("at least", AT_LEAST), stretch=STRETCH)
    anew = Goal(number=4, what=WHAT.format(", a new token each time"))
    return [
        await _line(bench, issuer, goal, again),
        await _line(bench, issuer, anew, new_tokens(issuer), **REMEMBERS_ONE),
    ]


def new_tokens(issuer: Issuer) -> Requests:
    """Requests of one end user, each with another token than the one before."""
    tokens = [issuer.token(1, token_id=number) for number in range(NEW_TOKENS)]
    return repeating(*(ask_for_link_with_token(token) for token in tokens))


async def _line(bench: Bench, issuer: Issuer, goal: Goal, requests: Requests, **environment: str) -> Line:
    names = {"ours": "ours_by_settings", "joserfc alone": "joserfc_constant"}
    sides = [
        Side(name=name, worker=await bearer_worker(bench, app, issuer, **environment), requests=requests)
        for name, app in names.items()
    ]
    ours, alone = await compare(bench, sides)
    return rate_line(goal, ours, alone)


async def bearer_worker(bench: Bench, app: str, issuer: Issuer, **environment: str) -> Worker:
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
        **environment,
    )
