from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kombo_embed import EndUser
from kombo_embed.clock import ManualClock, SystemClock
from kombo_embed.errors import RateLimited
from kombo_embed.link_cache.redis_client import RedisClient
from kombo_embed.rate_limit import PER_CUSTOMER, BoundedStorage, EndUserRate, SharedStorage
from kombo_embed.sandbox import Sandbox
from tests.redis_server import RedisServer
from tests.support import (
    end_user_from_header,
    exchanged,
    make_host,
    minted,
    order_fault,
    person,
    running,
)

ADA, GRACE = person("ada@acme"), person("grace@acme")
FRESH = {"fresh": True}


def end_user(name: str = "ada", origin_id: str = "acme") -> EndUser:
    return EndUser(email=f"{name}@acme.example", organization_name="Acme", origin_id=origin_id)


def make_clock() -> ManualClock:
    return ManualClock(time=lambda: 1_790_000_000.0, monotonic=lambda: 1000.0)


def make_rate(
    clock: ManualClock,
    rate: str = "3/minute",
    *,
    environment: str = "default",
    account: str = "",
    storage: BoundedStorage | None = None,
) -> EndUserRate:
    storage = BoundedStorage(size=1000, clock=clock) if storage is None else storage
    return EndUserRate(rate, name="link", scope=(account, environment), storage=storage)


async def times_allowed(rate: EndUserRate, who: EndUser, *, tries: int = 10) -> int:
    for count in range(tries):
        try:
            await rate.spend(who)
        except RateLimited:
            return count
    return tries


async def test_a_hit_beyond_the_rate_is_rejected_with_the_seconds_until_the_next() -> None:
    clock = make_clock()
    rate = make_rate(clock)
    for pause in (10, 5, 0.5):
        await rate.spend(end_user())
        clock.advance(pause)
    with pytest.raises(RateLimited) as refused:
        await rate.spend(end_user())
    assert refused.value.retry_after == 45  # the first hit was 15.5 s ago: 44.5 s, in whole seconds
    clock.advance(44.4)
    with pytest.raises(RateLimited) as refused:
        await rate.spend(end_user())
    assert refused.value.retry_after == 1
    clock.advance(0.2)
    await rate.spend(end_user())


async def test_a_rejected_hit_does_not_count() -> None:
    clock = make_clock()
    rate = make_rate(clock)
    assert await times_allowed(rate, end_user()) == 3
    for _ in range(59):
        clock.advance(1)
        assert await times_allowed(rate, end_user()) == 0
    clock.advance(2)
    assert await times_allowed(rate, end_user()) == 3


async def test_two_adjacent_windows_allow_no_burst() -> None:
    clock = make_clock()
    rate = make_rate(clock, "10/minute")
    clock.advance(59)
    assert await times_allowed(rate, end_user(), tries=20) == 10
    clock.advance(2)
    assert await times_allowed(rate, end_user()) == 0


async def test_correcting_the_wall_clock_changes_nothing() -> None:
    wall_time = 1_790_000_000.0
    clock = ManualClock(time=lambda: wall_time, monotonic=lambda: 1000.0)
    rate = make_rate(clock)
    assert await times_allowed(rate, end_user()) == 3
    wall_time -= 7200
    clock.advance(61)
    assert await times_allowed(rate, end_user()) == 3
    wall_time += 7200
    with pytest.raises(RateLimited) as refused:
        await rate.spend(end_user())
    assert refused.value.retry_after == 60


class RecordingStorage(BoundedStorage):
    """Records the names under which hits are counted."""

    def __init__(self) -> None:
        super().__init__(size=1000, clock=make_clock())
        self.names: list[str] = []

    async def hit(self, key: str, amount: int, window_seconds: int, *, is_counted: bool = True) -> float:
        self.names.append(key)
        return await super().hit(key, amount, window_seconds, is_counted=is_counted)


ORIGIN_IDS = st.text(alphabet='a:/,"\\[] \n\u00e9e\u0301\ufffdA', min_size=1, max_size=5).filter(
    lambda text: not text.isspace()
)
IDENTITIES = st.tuples(
    st.sampled_from(["default", "us", "a", "a.b"]),
    st.sampled_from(["link", "completion"]),
    st.sampled_from(["a@b", "A@b", '"a"@b', "a,b@c", "a/b@c"]),
    ORIGIN_IDS,
)


@given(st.lists(IDENTITIES, unique=True, min_size=2, max_size=6))
async def test_no_two_identities_are_counted_under_one_name_and_no_name_holds_an_identity(
    identities: list[tuple[str, str, str, str]],
) -> None:
    storage = RecordingStorage()
    for environment, name, email, origin_id in identities:
        rate = EndUserRate("3/minute", name=name, scope=("", environment), storage=storage)
        await rate.spend(EndUser(email=email, organization_name="Acme", origin_id=origin_id))
    assert len(set(storage.names)) == len(identities)
    assert all(re.fullmatch(r"[\w/]+", name) and "@" not in name for name in storage.names)


async def test_end_users_origin_ids_environments_and_accounts_are_counted_separately() -> None:
    clock = make_clock()
    storage = BoundedStorage(size=100, clock=clock)
    rate = make_rate(clock, storage=storage)
    for who in (end_user(), end_user("grace"), end_user(origin_id="acme-2")):
        assert await times_allowed(rate, who) == 3
    for other in ({"environment": "us"}, {"account": "another"}):
        assert await times_allowed(make_rate(clock, storage=storage, **other), end_user()) == 3
    assert len(storage) == 5


async def test_the_end_users_of_a_customer_have_a_limit_together_however_many_they_are() -> None:
    clock = make_clock()
    storage, customers = (BoundedStorage(size=1000, clock=clock) for _ in range(2))
    rate = EndUserRate("2/minute", name="link", scope=("", ""), storage=storage, customers=customers)
    for number in range(PER_CUSTOMER):
        assert await times_allowed(rate, end_user(f"ada+{number}")) == 2
        clock.advance(0.5)
    late = end_user("late")
    for refused in (rate.check, rate.spend):
        with pytest.raises(RateLimited) as refusal:
            await refused(late)
        assert refusal.value.retry_after == 35  # the first one was 25 s ago
    assert await times_allowed(rate, end_user("bob", origin_id="other")) == 2
    clock.advance(35)  # one end user's two hits have left the window
    assert [await times_allowed(rate, end_user(f"new-{name}")) for name in "ab"] == [2, 0]


async def test_a_refused_end_user_spends_nothing_of_the_customers_limit() -> None:
    clock = make_clock()
    storage, customers = (BoundedStorage(size=1000, clock=clock) for _ in range(2))
    rate = EndUserRate("1/minute", name="link", scope=("", ""), storage=storage, customers=customers)
    for _ in range(3 * PER_CUSTOMER):
        await times_allowed(rate, end_user())
    assert await times_allowed(rate, end_user("grace")) == 1


async def test_whoever_varies_the_email_mints_a_bounded_number_of_links(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo, clock=make_clock(), link_rate="1/minute")
    async with running(app) as client:
        headers = [person(f"ada{number}@acme") for number in range(PER_CUSTOMER + 5)]
        answers = [await client.post("/kombo/links", headers=one, json={}) for one in headers]
        other = await client.post("/kombo/links", headers=person("bob@bolt"), json={})
        again = await client.post("/kombo/links", headers=headers[0], json={})
    assert [one.status_code for one in answers] == [200] * PER_CUSTOMER + [429] * 5
    assert (answers[-1].json()["code"], answers[-1].headers["Retry-After"]) == ("rate_limited", "60")
    assert minted(sandbox) == PER_CUSTOMER + 1
    assert (other.status_code, again.status_code) == (200, 200)  # the second one is cached


@given(st.lists(st.tuples(st.text("a/:\"',[]", min_size=1), st.text("a/:\"',[]", min_size=1)), unique=True))
@settings(max_examples=50, deadline=None)
def test_no_two_end_users_share_a_count(people: list[tuple[str, str]]) -> None:
    async def count() -> None:
        rate = make_rate(make_clock(), "1/minute")
        for origin_id, local in people:
            await rate.spend(EndUser(email=f"{local}@x", organization_name="x", origin_id=origin_id))

    asyncio.run(count())


async def test_the_storage_is_bounded_and_removes_expired_hits() -> None:
    clock = make_clock()
    storage = BoundedStorage(size=50, clock=clock)
    rate = make_rate(clock, storage=storage)
    for number in range(200):
        await rate.spend(end_user(f"p{number}"))
    assert len(storage) == 50
    clock.advance(61)
    for number in range(30):
        await rate.spend(end_user(f"q{number}"))
    assert len(storage) == 30


async def test_the_least_recently_active_end_users_are_evicted_first() -> None:
    clock = make_clock()
    rate = make_rate(clock, storage=BoundedStorage(size=5, clock=clock))
    assert await times_allowed(rate, end_user()) == 3
    for number in range(40):
        await rate.spend(end_user(f"p{number}"))
        assert await times_allowed(rate, end_user()) == 0


async def test_counting_starts_neither_a_task_nor_a_thread() -> None:
    rate = make_rate(make_clock(), "100/minute")
    tasks, threads = asyncio.all_tasks(), threading.active_count()
    for number in range(50):
        await rate.spend(end_user(f"p{number}"))
    assert asyncio.all_tasks() == tasks
    assert threading.active_count() == threads


async def test_mints_are_limited_per_end_user_and_cached_links_cost_nothing(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    clock = make_clock()
    app, _ = make_host(kombo, clock=clock, link_rate="2/minute")
    async with running(app) as client:
        for _ in range(5):
            assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 200
        assert (await client.post("/kombo/links", headers=ADA, json=FRESH)).status_code == 200
        refused = await client.post("/kombo/links", headers=ADA, json=FRESH)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert refused.headers["retry-after"] == "60"
        assert refused.headers["content-type"] == "application/problem+json"
        assert minted(sandbox) == 2
        # The cached link and other end users are not affected, and the rejection was not cached.
        assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 200
        assert (await client.post("/kombo/links", headers=GRACE, json=FRESH)).status_code == 200
        clock.advance(60)
        assert (await client.post("/kombo/links", headers=ADA, json=FRESH)).status_code == 200


async def test_every_kind_of_link_counts(sandbox: Sandbox, kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo, clock=make_clock(), link_rate="1/minute")
    async with running(app) as client:
        link = (await client.post("/kombo/links", headers=GRACE, json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        token = {"activation_token": flow.activation_token}
        done = (await client.post("/kombo/completions", headers=GRACE, json=token)).json()
        integration = f"/kombo/integrations/{done['integration']['id']}"
        for kind in ("relink", "setup-link"):
            refused = await client.post(f"{integration}/{kind}", headers=GRACE)
            assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert (await client.post(f"{integration}/relink", headers=ADA)).status_code == 200


async def test_callers_that_join_a_mint_do_not_count_and_all_of_them_are_rejected_together(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo, clock=make_clock(), link_rate="1/minute")
    async with running(app) as client:

        async def request_link(body: dict[str, bool]) -> httpx.Response:
            return await client.post("/kombo/links", headers=ADA, json=body)

        answers = await asyncio.gather(*(request_link({}) for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200}
        answers = await asyncio.gather(*(request_link(FRESH) for _ in range(20)))
        assert {answer.json()["code"] for answer in answers} == {"rate_limited"}
        assert {answer.headers["retry-after"] for answer in answers} == {"60"}
    assert minted(sandbox) == 1


async def test_a_failed_mint_counts(sandbox: Sandbox, kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo, clock=make_clock(), link_rate="1/minute")
    await order_fault(sandbox, "/connect/create-link", "unauthorized")
    async with running(app) as client:
        assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 502
        assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 429


@pytest.mark.integration
async def test_completions_are_limited_before_kombo_or_the_database_is_called(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    clock = make_clock()
    app, _ = make_host(kombo, clock=clock, completion_rate="2/minute")
    async with running(app) as client:
        for _ in range(2):
            wrong = await client.post("/kombo/completions", headers=ADA, json={"activation_token": "made-up"})
            assert wrong.status_code == 422
        before = exchanged(sandbox)
        with closing(sqlite3.connect("kombo_embed.db")) as database, database:
            database.execute("drop table kombo_embed_completions")  # a query now fails with 503
        refused = await client.post("/kombo/completions", headers=ADA, json={"activation_token": "made-up"})
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert refused.headers["retry-after"] == "60"
        assert exchanged(sandbox) == before == 2
        other = await client.post("/kombo/completions", headers=GRACE, json={"activation_token": "made-up"})
        assert other.status_code == 503


async def test_magic_links_are_not_limited(sandbox: Sandbox, kombo: httpx.AsyncBaseTransport) -> None:
    app, embed = make_host(kombo, link_rate="1/day")
    async with running(app):
        for _ in range(3):
            assert await embed.magic_link(end_user())
    assert minted(sandbox) == 3


async def test_the_rejection_contains_no_personal_data(kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo, link_rate="1/minute", end_user=end_user_from_header)
    async with running(app) as client:
        for body in ({}, FRESH):
            answer = await client.post("/kombo/links", headers=ADA, json=body)
    assert answer.json()["detail"].startswith("Too many attempts.")
    assert "ada" not in answer.text
    assert "acme" not in answer.text


async def test_processes_that_share_a_redis_share_the_rates(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    apps = [make_host(kombo, link_rate="3/minute", redis_url=redis_server.url)[0] for _ in range(2)]
    async with running(apps[0]) as first, running(apps[1]) as second:
        answers = [
            await client.post("/kombo/links", headers=person("ada@acme"), json={"fresh": True})
            for client in (first, second, first, second, first)
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 60


@asynccontextmanager
async def shared_storages(count: int, redis: RedisServer) -> AsyncIterator[list[SharedStorage]]:
    """Return the storages of so many processes, each with a client of its own."""
    async with AsyncExitStack() as stack:
        storages = []
        for _ in range(count):
            client = RedisClient(redis.url)
            stack.push_async_callback(client.aclose)
            await client.connect()
            storages.append(SharedStorage(client.run, is_up=lambda: True, size=1000, clock=SystemClock()))
        yield storages


async def test_of_a_burst_over_two_processes_exactly_the_limit_is_allowed(redis_server: RedisServer) -> None:
    async with shared_storages(2, redis_server) as storages:
        rates = [make_rate(make_clock(), "100/minute", storage=storage) for storage in storages]
        outcomes = await asyncio.gather(
            *(rate.spend(end_user()) for _ in range(200) for rate in rates), return_exceptions=True
        )
        assert (
            sorted(type(outcome).__name__ for outcome in outcomes)
            == ["NoneType"] * 100 + ["RateLimited"] * 300
        )
        assert [len(storage) for storage in storages] == [0, 0]  # none was counted in memory


async def test_a_check_in_redis_counts_nothing(redis_server: RedisServer) -> None:
    async with shared_storages(1, redis_server) as [storage]:
        rate = make_rate(make_clock(), "1/minute", storage=storage)
        await rate.check(end_user())
        assert keys(redis_server) == []
        await rate.spend(end_user())
        [name] = keys(redis_server)
        with pytest.raises(RateLimited):
            await rate.check(end_user())
        assert redis_server.command("LLEN", name) == b":1"
        assert len(storage) == 0


async def test_a_late_redis_still_counts_every_hit(redis_server: RedisServer) -> None:
    async with shared_storages(2, redis_server) as storages:
        rates = [make_rate(make_clock(), "10/minute", storage=storage) for storage in storages]
        await rates[0].spend(end_user())
        redis_server.command("CLIENT", "PAUSE", "800", "WRITE")  # it still answers PINGs
        outcomes = await asyncio.gather(
            *(rate.spend(end_user()) for _ in range(20) for rate in rates), return_exceptions=True
        )
        assert sum(outcome is None for outcome in outcomes) == 9
        assert [len(storage) for storage in storages] == [0, 0]


async def test_of_a_burst_of_distinct_links_exactly_the_rate_is_minted(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    apps = [make_host(kombo, link_rate="20/hour", redis_url=redis_server.url)[0] for _ in range(2)]
    async with running(apps[0]) as first, running(apps[1]) as second:
        answers = await asyncio.gather(
            *(
                client.post("/kombo/links", headers=ADA, json={"integration_tool": f"tool-{number}"})
                for number in range(30)
                for client in (first, second)
            )
        )
        counts = Counter(answer.status_code for answer in answers)
        assert (await first.get("/kombo/health")).json()["status"] == "ok"
    assert set(counts) == {200, 429}
    assert minted(sandbox) == 20


async def test_a_rate_in_redis_keeps_no_more_times_than_it_allows_and_none_after_its_period(
    redis_server: RedisServer,
) -> None:
    async with shared_storages(1, redis_server) as [storage]:
        rate = make_rate(make_clock(), "300/minute", storage=storage)
        await asyncio.gather(*(rate.spend(end_user()) for _ in range(400)), return_exceptions=True)
        [name] = keys(redis_server)
        assert redis_server.command("LLEN", name) == b":300"
        assert int(redis_server.command("MEMORY", "USAGE", name)[1:]) < 4000
        assert 0 < int(redis_server.command("PTTL", name)[1:]) <= 60_000


async def test_the_next_hit_is_allowed_when_the_oldest_one_has_left_the_window(
    redis_server: RedisServer,
) -> None:
    async with shared_storages(1, redis_server) as [storage]:
        assert [await storage.hit("x", 2, 1) for _ in range(2)] == [0, 0]
        async with asyncio.timeout(10):
            while seconds := await storage.hit("x", 2, 1):
                assert 0 < seconds <= 1
                await asyncio.sleep(seconds)


def keys(redis: RedisServer) -> list[str]:
    return [line.decode() for line in redis.reply("KEYS", "*").split(b"\r\n") if line.startswith(b"kombo")]


@pytest.mark.parametrize(
    "time",
    ["nan", "inf", "-inf", "x", "", "1e400", "9" * 400, "0x7fffffffffffffff", str(4 * 10**12)],
)
async def test_times_that_are_not_ours_are_forgotten(time: str, redis_server: RedisServer) -> None:
    async with shared_storages(1, redis_server) as [storage]:
        rate = make_rate(make_clock(), "3/minute", storage=storage)
        await rate.spend(end_user())
        [name] = keys(redis_server)
        redis_server.command("DEL", name)
        for _ in range(3):
            redis_server.command("RPUSH", name, time)
        assert await times_allowed(rate, end_user()) == 3
        assert len(storage) == 0


async def test_during_a_redis_outage_each_process_counts_by_itself(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    app, _ = make_host(kombo, link_rate="2/minute", redis_url=redis_server.url)
    async with running(app) as client:
        redis_server.stop()
        statuses = [
            (await client.post("/kombo/links", headers=person("ada@acme"), json={"fresh": True})).status_code
            for _ in range(4)
        ]
    assert statuses == [200, 200, 429, 429]
