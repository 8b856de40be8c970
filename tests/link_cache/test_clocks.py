"""Links expire on time in many simulated hours, while clocks are set, stepped and suspended."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import httpx

from kombo_embed.clock import SystemClock
from tests.support import ManualClock, make_host, person, running

HOURS = 10_000 if os.environ.get("LINKS_SOAK") else 50
END_USERS = [person("ada@acme"), person("grace@acme"), person("bob@initech")]


class SlowKombo:
    """Records when each link was minted; its response may arrive seconds later."""

    def __init__(self, clock: ManualClock, dice: random.Random) -> None:
        self.minted: dict[str, float] = {}
        self._clock = clock
        self._dice = dice

    def __call__(self, _request: httpx.Request) -> httpx.Response:
        link = f"https://connect.kombo.example/{len(self.minted)}"
        self.minted[link] = self._clock.passed
        self._clock.advance(self._dice.choice([0.1, 0.3, 8.0]))
        return httpx.Response(200, json={"status": "success", "data": {"link": link}})


async def test_no_link_below_the_margin_is_handed_out_whatever_happens_to_the_clock(
    record_property: Callable[[str, object], None],
) -> None:
    dice = random.Random(11)  # noqa: S311 - the same hours each time
    clock = ManualClock()
    kombo = SlowKombo(clock, dice)
    app, _ = make_host(httpx.MockTransport(kombo), clock=clock)
    requests = 0
    async with running(app) as client:
        while clock.passed < HOURS * 3600:
            match dice.randrange(20):
                case 0:
                    clock.now += dice.choice([-7200, 7200])  # set by an operator
                case 1:
                    clock.now += dice.uniform(-0.5, 0.5)  # stepped by NTP
                case 2:
                    clock.advance(dice.choice([1800, 3299, 3300, 3301, 7200, 86400]))  # suspended
                case _:
                    clock.advance(dice.expovariate(1 / 600))
            response = await client.post("/kombo/links", headers=dice.choice(END_USERS), json={})
            assert response.status_code == 200
            remaining = 3600 - (clock.passed - kombo.minted[response.json()["link"]])
            assert remaining >= 300
            requests += 1
    assert len(kombo.minted) < requests  # some were hits
    record_property("figure", f"{HOURS:,} hours: 0 of {requests:,} links below the margin")


def test_the_clock_of_expiry_continues_while_the_machine_is_suspended() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    assert clock.monotonic() >= before
    assert abs(clock.time() - time.time()) < 5
    if hasattr(time, "CLOCK_BOOTTIME"):
        assert 0 <= time.clock_gettime(time.CLOCK_BOOTTIME) - before < 5
