"""Many simulated hours of requests, on clocks that are set, stepped and put to sleep."""

from __future__ import annotations

import json
import os
import random
import time

import httpx

from kombo_embed.clock import SystemClock
from tests.support import ManualClock, make_host, person, running

HOURS = 10_000 if os.environ.get("LINKS_SOAK") else 50
PEOPLE = [person("ada@acme"), person("grace@acme"), person("bob@initech")]


class Kombo(httpx.AsyncBaseTransport):
    """Notes when each link was really minted, which its answer may take a while after."""

    def __init__(self, clock: ManualClock, dice: random.Random) -> None:
        self.minted: dict[str, float] = {}
        self._clock = clock
        self._dice = dice

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        del request
        link = f"https://connect.kombo.example/{len(self.minted)}"
        self.minted[link] = self._clock.passed
        self._clock.advance(self._dice.choice([0.1, 0.3, 8.0]))
        return httpx.Response(200, content=json.dumps({"status": "success", "data": {"link": link}}))


async def test_no_link_is_handed_out_below_the_margin_whatever_happens_to_the_clock() -> None:
    dice = random.Random(11)  # noqa: S311 - the same hours each time
    clock = ManualClock()
    kombo = Kombo(clock, dice)
    app, _ = make_host(kombo, clock=clock)
    asked = 0
    async with running(app) as client:
        while clock.passed < HOURS * 3600:
            match dice.randrange(20):
                case 0:
                    clock.now += dice.choice([-7200, 7200])  # somebody sets the wall clock
                case 1:
                    clock.now += dice.uniform(-0.5, 0.5)  # NTP steps it
                case 2:
                    clock.advance(dice.choice([1800, 3299, 3300, 3301, 7200, 86400]))  # asleep
                case _:
                    clock.advance(dice.expovariate(1 / 600))
            answer = await client.post("/kombo/links", headers=dice.choice(PEOPLE), json={})
            assert answer.status_code == 200
            left = 3600 - (clock.passed - kombo.minted[answer.json()["link"]])
            assert left >= 300
            asked += 1
    assert len(kombo.minted) < asked  # some were hits


def test_the_clock_that_ends_links_goes_on_while_the_machine_sleeps() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    assert clock.monotonic() >= before
    assert abs(clock.time() - time.time()) < 5
    if hasattr(time, "CLOCK_BOOTTIME"):
        assert 0 <= time.clock_gettime(time.CLOCK_BOOTTIME) - before < 5
