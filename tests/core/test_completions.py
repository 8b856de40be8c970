"""Completions: every rejection takes the same steps and the same time, so that it reveals nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from kombo_embed import EndUser
from kombo_embed.core.completions import (
    PAUSES_AFTER_REJECTION_SECONDS,
    REJECTION_SECONDS,
    Completions,
    Wake,
)
from kombo_embed.core.links import LinkIssuer
from kombo_embed.errors import ActivationRejected, RateLimited
from kombo_embed.kombo.client import KomboClient
from kombo_embed.link_cache.memory import MemoryLinkCache
from kombo_embed.models import LinkRequest
from kombo_embed.rate_limit import BoundedStorage, EndUserRate
from kombo_embed.sandbox import Sandbox
from kombo_embed.store.store import Store
from tests.support import API_KEY, SANDBOX_URL, SQLITE_URL, ManualClock, exchanged, make_settings

ADA = EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")
EVE = EndUser(email="eve@other.example", organization_name="Other", origin_id="other")
TOTAL_PAUSE_SECONDS = sum(PAUSES_AFTER_REJECTION_SECONDS)


class CountingStore:
    """A store that counts the calls of its methods."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        self.calls[name] += 1
        method: Callable[..., Any] = getattr(self._store, name)
        return method


class SlowTransport(httpx.AsyncBaseTransport):
    """Passes calls on to ``peer``, each of which takes so long on the clock."""

    def __init__(self, peer: httpx.AsyncBaseTransport, clock: ManualClock) -> None:
        self._peer = peer
        self._clock = clock
        self.seconds = 0.0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if "integration-by-token" in request.url.path:
            self._clock.advance(self.seconds)
        return await self._peer.handle_async_request(request)


@dataclass(frozen=True, kw_only=True)
class Parts:
    completions: Completions
    links: LinkIssuer
    store: CountingStore
    sandbox: Sandbox
    kombo: SlowTransport
    clock: ManualClock
    pauses: list[float]

    async def token(self, tool: str = "personio") -> str:
        """Return the activation token of a flow that Ada finished."""
        issued = await self.links.issue(ADA, LinkRequest("HRIS", "en"), fresh=True)
        return (await self.sandbox.complete(issued.link.link, tool)).activation_token

    async def steps_of_rejection(self, end_user: EndUser, token: str) -> tuple[object, ...]:
        """Return what a rejection did: store calls, exchanges, pauses, and the seconds it took."""
        self.store.calls.clear()
        self.pauses.clear()
        before, started_at = exchanged(self.sandbox), self.clock.monotonic()
        with pytest.raises(ActivationRejected) as rejected:
            await self.completions.complete(end_user, token)
        passed = round(self.clock.monotonic() - started_at, 3)
        calls = exchanged(self.sandbox) - before
        return str(rejected.value), dict(self.store.calls), calls, [*self.pauses], passed


@pytest.fixture
async def parts(sandbox: Sandbox, kombo: httpx.AsyncBaseTransport) -> AsyncIterator[Parts]:
    clock, pauses = ManualClock(), []
    slow = SlowTransport(kombo, clock)

    async def sleep(seconds: float) -> None:
        pauses.append(round(seconds, 3))
        clock.advance(seconds)
        await asyncio.sleep(0)

    client = KomboClient(
        base_url=f"{SANDBOX_URL}/v1",
        api_key=API_KEY,
        timeout_seconds=10,
        connect_timeout_seconds=3,
        clock=clock,
        transport=slow,
    )
    real_store = Store(SQLITE_URL, environment="default", clock=clock)
    await real_store.open()
    store: Any = CountingStore(real_store)
    storage = BoundedStorage(size=100, clock=clock)
    rate = EndUserRate("20/minute", name="link", scope=("", "default"), storage=storage)
    cache = MemoryLinkCache(size=100, lifetime_seconds=3600, clock=clock)
    links = LinkIssuer(
        settings=make_settings(), client=client, store=store, rate=rate, cache=cache, clock=clock
    )
    completions = Completions(
        client=client,
        store=store,
        rate=EndUserRate("9/minute", name="done", scope=("", "default"), storage=storage),
        clock=clock,
        wake=Wake(dispatcher=lambda: None, details=lambda: None),
        sleep=sleep,
    )
    yield Parts(
        completions=completions,
        links=links,
        store=store,
        sandbox=sandbox,
        kombo=slow,
        clock=clock,
        pauses=pauses,
    )
    await completions.aclose()
    await links.aclose()
    await client.aclose()
    await real_store.aclose()


@pytest.mark.parametrize("kombo_seconds", [0.0, 0.3, 2.6])
@pytest.mark.parametrize("mode", ["multi_use", "single_use"])
async def test_a_recorded_token_of_another_customer_takes_the_steps_and_the_time_of_an_unknown_one(
    mode: str, kombo_seconds: float, parts: Parts
) -> None:
    async with httpx.AsyncClient(transport=parts.kombo, base_url=SANDBOX_URL) as control:
        await control.post("/_sandbox/settings", json={"activation_mode": mode})
    token = await parts.token()
    assert (await parts.completions.complete(ADA, token)).first
    parts.kombo.seconds = kombo_seconds
    unknown = await parts.steps_of_rejection(EVE, "unknown")
    foreign = await parts.steps_of_rejection(EVE, token)
    assert foreign == unknown
    assert unknown[1:3] == ({"find_completion": 5}, 1)


@pytest.mark.parametrize("kombo_seconds", [0.0, 0.3, 2.6])
async def test_a_new_token_of_another_customer_is_recorded_and_rejected_at_the_time_of_an_unknown_one(
    kombo_seconds: float, parts: Parts
) -> None:
    token = await parts.token()
    parts.kombo.seconds = kombo_seconds
    message, _, calls, pauses, passed = await parts.steps_of_rejection(EVE, "unknown")
    foreign = await parts.steps_of_rejection(EVE, token)
    assert (foreign[0], *foreign[2:]) == (message, calls, pauses, passed)
    assert [one.tool for one in await parts.store.find_integrations("acme")] == ["personio"]


async def test_a_rejection_is_answered_at_a_fixed_time_however_long_the_work_took(parts: Parts) -> None:
    for kombo_seconds, expected in [(0.0, 2.0), (0.45, 2.0), (0.6, 4.0), (3.0, 6.0)]:
        parts.kombo.seconds = kombo_seconds
        assert (await parts.steps_of_rejection(EVE, "unknown"))[-1] == expected
    assert TOTAL_PAUSE_SECONDS < REJECTION_SECONDS


async def test_a_rejection_for_someone_who_never_had_a_link_takes_the_same_time(parts: Parts) -> None:
    await parts.token()
    assert await parts.steps_of_rejection(EVE, "unknown") == await parts.steps_of_rejection(ADA, "unknown")


async def test_a_right_token_waits_for_nothing_the_first_time_and_later(parts: Parts) -> None:
    token = await parts.token()
    firsts = [(await parts.completions.complete(ADA, token)).first for _ in range(3)]
    assert (firsts, parts.pauses, exchanged(parts.sandbox)) == ([True, False, False], [], 1)


async def test_a_rejection_counts_against_the_rate_before_the_database_is_read(parts: Parts) -> None:
    token = await parts.token()
    await parts.completions.complete(ADA, token)
    for number in range(9):
        await parts.steps_of_rejection(EVE, token if number % 2 else "unknown")
    parts.store.calls.clear()
    before = exchanged(parts.sandbox)
    for attempt in ("unknown", token):
        with pytest.raises(RateLimited):
            await parts.completions.complete(EVE, attempt)
    assert (parts.store.calls, exchanged(parts.sandbox)) == ({}, before)
