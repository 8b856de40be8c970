"""Goal 14: what is refused costs no more than what is accepted."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.figures import Bound
from benchmarks.goals.bearer import bearer_worker
from benchmarks.goals.webhooks import USUAL, delivery
from benchmarks.lines import Line
from benchmarks.paired import Goal, Requests, Side, compare, cpu_line, repeating
from benchmarks.processes import Worker
from benchmarks.tokens import Issuer, spoilt
from benchmarks.wire import ask_for_link, ask_for_link_with_token

AT_MOST, STRETCH = 1.2, 1.0
BEARER = "a bearer token with a wrong signature, CPU / a good one"


async def measure(bench: Bench) -> list[Line]:
    """Webhooks with a wrong signature, sessions with a wrong cookie, wrong bearer tokens."""
    worker = await bench.worker("ours_mounted")
    seen = delivery("evt_refusals", USUAL)
    forged = delivery("evt_refusals", USUAL, secret="another one")  # noqa: S106 - it protects nothing
    cookie = ask_for_link()
    lines = [
        await _line(bench, worker, "a webhook with a wrong signature, CPU / a good one", (forged, seen, 204)),
        await _line(
            bench,
            worker,
            "a forged session cookie, CPU / a good one",
            (cookie.replace(b"session=", b"session=X"), cookie, 200),
        ),
    ]
    issuer = Issuer.create()
    token = issuer.token(1)
    by_bearer = await bearer_worker(bench, "ours_by_settings", issuer)
    bad = ask_for_link_with_token(spoilt(token))
    good = repeating(ask_for_link_with_token(token))
    goal = Goal(number=14, what=BEARER, bound=Bound("at most", AT_MOST), stretch=STRETCH)
    return [*lines, await _compared(bench, by_bearer, goal, bad, good)]


async def _line(bench: Bench, worker: Worker, what: str, requests: tuple[bytes, bytes, int]) -> Line:
    bad, good, status = requests
    goal = Goal(number=14, what=what, bound=Bound("at most", AT_MOST), stretch=STRETCH)
    return await _compared(bench, worker, goal, bad, repeating(good), status=status)


async def _compared(
    bench: Bench, worker: Worker, goal: Goal, bad: bytes, good: Requests, *, status: int = 200
) -> Line:
    sides = [
        Side(name="refused", worker=worker, requests=repeating(bad), status=401),
        Side(name="accepted", worker=worker, requests=good, status=status),
    ]
    refused, accepted = await compare(bench, sides)
    return cpu_line(goal, refused, accepted)
