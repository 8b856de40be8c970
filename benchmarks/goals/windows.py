"""Goal 8: one call to Kombo per end user and 55 minutes, whatever is asked, over simulated hours."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.requests import HTTPConnection
from starlette.types import Message

from benchmarks.apps.upstream import LINK
from benchmarks.bench import API_KEY, Bench, has_setting
from benchmarks.figures import Bound, spread
from benchmarks.lines import Line
from kombo_embed import EndUser, KomboEmbed, Settings

PEOPLE = 10
STEP_SECONDS = 300.0  # between two requests of one end user, on average
LIFETIME, MARGIN = 3600.0, 300.0  # seconds, the settings' defaults
WHAT = "calls to Kombo per end user and window of 55 minutes, {requests} requests of {people} in {hours} h"


@dataclass
class SimulatedClock:
    """Time that passes when it is told to."""

    now: float = 0.0

    def time(self) -> float:
        """Seconds since the epoch."""
        return 1_790_000_000.0 + self.now

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return self.now


class CountingKombo(httpx.AsyncBaseTransport):
    """A Kombo in this process that counts the calls for each end user."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Mint a link."""
        match = re.search(rb'"end_user_origin_id":\s*"([^"]+)"', await request.aread())
        assert match is not None  # noqa: S101 - kombo-embed always sends it
        self.calls[match[1].decode()] += 1
        return httpx.Response(200, json={"status": "success", "data": {"link": LINK.format(number=1)}})


async def measure(bench: Bench) -> list[Line]:
    """In this process, on a clock that is moved: days of requests in seconds."""
    clock, kombo = SimulatedClock(), CountingKombo()
    values: dict[str, Any] = {
        "api_key": API_KEY,
        "database_url": f"sqlite+aiosqlite:///{bench.folder}/windows.db",
        **({"link_rate": "1000000/second"} if has_setting("KOMBO_LINK_RATE") else {}),
    }
    embed = KomboEmbed(
        end_user=_end_user, settings=lambda: Settings(**values), http_transport=kombo, clock=clock
    )
    async with embed:
        requests, windows = await _simulate(embed, clock, hours=bench.effort.hours)
    rates = [kombo.calls[name] / count for name, count in windows.items()]
    return [
        Line(
            goal=8,
            what=WHAT.format(requests=requests, people=PEOPLE, hours=bench.effort.hours),
            unit="calls",
            bound=Bound("exactly", 1),
            measured=spread(rates),
            details={"calls": sum(kombo.calls.values()), "windows": sum(windows.values())},
        )
    ]


async def _simulate(embed: KomboEmbed, clock: SimulatedClock, *, hours: int) -> tuple[int, dict[str, int]]:
    """Ask at random moments; count the requests, and the windows that they must open."""
    randomness = random.Random(1)  # noqa: S311 - the same run every time
    asked_at: dict[str, float] = {}
    windows: Counter[str] = Counter()
    requests = 0
    while clock.now < hours * 3600:
        clock.now += randomness.expovariate(PEOPLE / STEP_SECONDS)
        name = f"org_{randomness.randrange(PEOPLE)}"
        if name not in asked_at or clock.now > asked_at[name] + LIFETIME - MARGIN:
            asked_at[name] = clock.now
            windows[name] += 1
        await _ask(embed, name)
        requests += 1
    return requests, windows


async def _ask(embed: KomboEmbed, name: str) -> None:
    statuses: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/links",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"x-customer", name.encode())],
    }
    await embed.app(scope, receive, send)
    if statuses != [httpx.codes.OK]:
        raise RuntimeError(f"a link was refused: {statuses}")


def _end_user(connection: HTTPConnection) -> EndUser:
    name = connection.headers["x-customer"]
    return EndUser(email=f"ada@{name}.example", organization_name=name, origin_id=name)
