"""Goal 13: a webhook, verified, read and applied once, against a route that only reads the body."""

from __future__ import annotations

import itertools
import json

from benchmarks.bench import WEBHOOK_SECRET, Bench
from benchmarks.figures import Bound, ratios
from benchmarks.lines import Line
from benchmarks.paired import Goal, Requests, Side, compare, rate_line, repeating
from benchmarks.wire import SENDER, WEBHOOKS, post
from kombo_embed.kombo.webhooks import SIGNATURE_HEADER, sign

USUAL, LARGE, VERY_LARGE = 2_000, 32_000, 512_000  # bytes
AT_LEAST, STRETCH = 0.6, 0.85
NEW_PER_ROUND = 2_000  # events; a round with more answers than this meets its own again
LINEAR = 1.2  # times what the size alone explains
REMARK = "the database is where no fsync counts; both sides of a ratio are sent the same bytes"


async def measure(bench: Bench) -> list[Line]:
    """Events seen before, new events, and events of growing size."""
    lines = []
    cases: dict[str, Requests] = {
        "seen before": repeating(delivery("evt_again", USUAL)),
        "new": _NewEvents(USUAL),
    }
    for name, requests in cases.items():
        ours, reads = await compare(bench, await _sides(bench, requests))
        goal = Goal(
            number=13,
            what=f"webhook of 2 KB, {name} / a route that only reads the body",
            bound=Bound("at least", AT_LEAST),
            stretch=STRETCH,
            remark=REMARK,
        )
        lines.append(rate_line(goal, ours, reads))
    return [*lines, await _linear(bench)]


async def _linear(bench: Bench) -> Line:
    worker = await bench.worker("ours_mounted")
    sides = [
        Side(name=str(size), worker=worker, requests=repeating(delivery(f"evt_{size}", size)), status=204)
        for size in (LARGE, VERY_LARGE)
    ]
    large, very_large = await compare(bench, sides)
    growth = VERY_LARGE / LARGE
    return Line(
        goal=13,
        what="webhook of 512 KB, CPU / 16 times one of 32 KB",
        bound=Bound("at most", LINEAR),
        measured=ratios(very_large.cpu, [cpu * growth for cpu in large.cpu]),
        details={"large": large.details(), "very_large": very_large.details()},
    )


async def _sides(bench: Bench, requests: Requests) -> list[Side]:
    return [
        Side(
            name=app,
            worker=await bench.worker(app),
            requests=requests,
            status=204,
        )
        for app in ("ours_mounted", "reads_body")
    ]


class _NewEvents:
    """Events that nobody has seen."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._numbers = itertools.count()

    def __call__(self) -> list[bytes]:
        return [delivery(f"evt_{next(self._numbers):012}", self._size) for _ in range(NEW_PER_ROUND)]


def delivery(event_id: str, size: int, *, secret: str = WEBHOOK_SECRET) -> bytes:
    """A signed delivery of about this size: an event that is kept and handed on, as most of Kombo's are."""
    changed = {"model": "hris_employees", "id": "26vafvWSRmbhNcxJYqjCzuJg"}
    event = {
        "id": event_id,
        "type": "data-changed",
        "data": {
            "integration_id": "personio:CBNMt7dSNCzBdnRTx87dev4E",
            "changed": [changed] * (size // (len(json.dumps(changed)) + 2)),
        },
    }
    body = json.dumps(event).encode()
    return post(WEBHOOKS, body, {**SENDER, SIGNATURE_HEADER: sign(body, secret)})
