"""An attacker who can write to Redis, or who answers in its place."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from kombo_embed.clock import ManualClock
from kombo_embed.sandbox import Sandbox
from tests.fakes import HeldTransport, OwnLinks, RedisImpostor
from tests.link_cache.workers import ADA, GRACE, Worker, workers
from tests.redis_server import RedisServer
from tests.support import API_KEY, WEBHOOK_SECRET, eventually, minted, order_fault, person

ENCRYPTION_KEY = Fernet.generate_key().decode()
MALLORY = person("mallory@acme")  # a colleague of Ada's: their links have the same generation
STRANGER = person("stranger@initech")
HOUR_MS = 3_600_000


@asynccontextmanager
async def attacker(redis: RedisServer) -> AsyncIterator[Any]:
    peer = Redis.from_url(redis.url)
    yield peer
    await peer.aclose()


async def new_names(peer: Any, known: set[bytes], kind: str) -> list[bytes]:
    """Return the names of this kind that are not among the known ones, and add them."""
    found = [name async for name in peer.scan_iter(f"kombo-embed:{kind}:*") if name not in known]
    known.update(found)
    return found


@pytest.mark.parametrize("thief", [MALLORY, STRANGER])
async def test_a_link_copied_under_another_persons_name_is_a_miss(
    thief: dict[str, str], kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with (
        workers(1, kombo, redis_server, link_encryption_keys=ENCRYPTION_KEY) as (worker,),
        attacker(redis_server) as peer,
    ):
        known: set[bytes] = set()
        stolen = await worker.link(thief)
        [source] = await new_names(peer, known, "link")
        own = await worker.link(ADA)
        [target] = await new_names(peer, known, "link")
        theirs, hers = await peer.get(source), await peer.get(target)
        for forged in (theirs, hers[:16] + theirs[16:], hers[:32] + theirs[32:]):
            await peer.set(target, forged, px=HOUR_MS)
            received = await worker.link(ADA)
            assert received not in (stolen, own)


@pytest.mark.parametrize(
    "other",
    [{"environment": "us"}, {"api_key": "another-key"}, {"api_url": "http://localhost:8001/other/v1"}],
)
async def test_links_cannot_be_moved_between_environments_api_keys_or_api_urls(
    other: dict[str, str], redis_server: RedisServer
) -> None:
    key = {"link_encryption_keys": ENCRYPTION_KEY}
    async with (
        workers(1, OwnLinks("ours"), redis_server, **key) as (worker,),
        workers(1, OwnLinks("theirs"), redis_server, **key, **other) as (another,),
        attacker(redis_server) as peer,
    ):
        known: set[bytes] = set()
        assert "ours" in await worker.link(ADA)
        [source] = await new_names(peer, known, "link")
        assert "theirs" in await another.link(ADA)
        [target] = await new_names(peer, known, "link")
        copied, replaced = await peer.get(source), await peer.get(target)
        await peer.set(target, replaced[:16] + copied[16:], px=HOUR_MS)
        assert "theirs" in await another.link(ADA)


@pytest.mark.parametrize("encryption_keys", ["", ENCRYPTION_KEY], ids=["plain", "encrypted"])
@pytest.mark.parametrize("other", [{"api_key": "another-key"}, {"api_url": "http://localhost:8001/other/v1"}])
async def test_applications_with_different_accounts_share_neither_links_nor_rates_nor_cool_downs(
    other: dict[str, str], encryption_keys: str, redis_server: RedisServer
) -> None:
    shared = {"link_encryption_keys": encryption_keys, "link_rate": "1/hour"}
    limited = OwnLinks("limited")
    async with (
        workers(1, limited, redis_server, **shared) as (worker,),
        workers(1, OwnLinks("theirs"), redis_server, **shared, **other) as (another,),
    ):
        assert "limited" in await worker.link(ADA)
        assert "theirs" in await another.link(ADA)
        limited.status = 429
        assert (await worker.request_link(GRACE)).json()["code"] == "kombo_rate_limited"
        await eventually(lambda: redis_server.reply("KEYS", "kombo-embed:cool-down:*") != b"*0\r\n")
        assert "theirs" in await another.link(GRACE)


async def test_workers_with_an_old_and_a_new_api_key_invalidate_each_others_links(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    sandbox.api_key = None
    async with (
        workers(1, kombo, redis_server) as (before,),
        workers(1, kombo, redis_server, api_key="a-new-key", database_url="sqlite+aiosqlite:///a.db") as (
            after,
        ),
    ):
        mine, ours, theirs = await before.link(ADA), await before.link(GRACE), await after.link(GRACE)
        assert ours != theirs
        await before.complete(sandbox, mine, "personio")
        # They share no database, so only Redis can have told the other one.
        assert await before.link(GRACE) != ours
        assert await after.link(GRACE) != theirs


async def test_a_link_for_connecting_is_never_one_for_reconnecting(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with (
        workers(1, kombo, redis_server, link_encryption_keys=ENCRYPTION_KEY) as (worker,),
        attacker(redis_server) as peer,
    ):
        await worker.complete(sandbox, await worker.link(ADA), "personio")
        await peer.flushall()
        [integration] = (await worker.client.get("/kombo/integrations", headers=ADA)).json()["integrations"]
        known: set[bytes] = set()
        connect = await worker.link(ADA)
        [source] = await new_names(peer, known, "link")
        path = f"/kombo/integrations/{integration['id']}/relink"
        assert (await worker.client.post(path, headers=ADA, json={})).status_code == 200
        [target] = await new_names(peer, known, "link")
        await peer.set(target, await peer.get(source), px=HOUR_MS)
        relink = (await worker.client.post(path, headers=ADA, json={})).json()["link"]
        assert relink != connect


async def test_an_invalidated_link_cannot_be_given_the_new_generation(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with (
        workers(1, kombo, redis_server, link_encryption_keys=ENCRYPTION_KEY) as (worker,),
        attacker(redis_server) as peer,
    ):
        old = await worker.link(GRACE)
        [name] = await new_names(peer, set(), "link")
        stored = await peer.get(name)
        await worker.complete(sandbox, await worker.link(ADA), "personio")
        assert await worker.link(GRACE) != old
        generation = (await peer.get(name))[:16]
        await peer.set(name, generation + stored[16:], px=HOUR_MS)
        assert await worker.link(GRACE) != old


async def test_swapped_generations_cost_a_mint_and_reveal_nothing(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with (
        workers(1, kombo, redis_server, link_encryption_keys=ENCRYPTION_KEY) as (worker,),
        attacker(redis_server) as peer,
    ):
        before = [await worker.link(who) for who in (ADA, STRANGER)]
        one, other = await new_names(peer, set(), "generation")
        values = [await peer.get(one), await peer.get(other)]
        await peer.set(one, values[1], px=HOUR_MS)
        await peer.set(other, values[0], px=HOUR_MS)
        after = [await worker.link(who) for who in (ADA, STRANGER)]
        assert not set(before) & set(after)
        assert [await worker.link(who) for who in (ADA, STRANGER)] == after


@pytest.mark.parametrize("encryption_keys", ["", ENCRYPTION_KEY], ids=["plain", "encrypted"])
async def test_a_link_is_not_served_beyond_its_hour_however_long_redis_keeps_it(
    encryption_keys: str, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    clock = ManualClock()
    async with (
        workers(1, kombo, redis_server, link_encryption_keys=encryption_keys, clock=clock) as (worker,),
        attacker(redis_server) as peer,
    ):
        old = await worker.link(ADA)
        [name] = await new_names(peer, set(), "link")
        clock.advance(3200)
        assert await worker.link(ADA) == old  # 400 s are left
        clock.advance(200)
        await peer.pexpire(name, 10 * HOUR_MS)
        assert await worker.link(ADA) != old  # the margin is not
        clock.advance(-3400)
        old = await worker.link(ADA, fresh=True)
        await peer.persist(name)
        assert await worker.link(ADA) != old
        clock.advance(3601)
        assert "stored" in (await worker.request_link(ADA)).headers["cache-status"]


async def test_a_link_from_the_future_is_not_believed(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    ahead, clock = ManualClock(), ManualClock()
    async with (
        workers(1, kombo, redis_server, clock=ahead) as (fast,),
        workers(1, kombo, redis_server, clock=clock) as (exact,),
    ):
        ahead.advance(300)
        assert await fast.link(ADA) == await exact.link(ADA)  # clocks of machines differ
        ahead.advance(7200)
        assert await fast.link(GRACE) != await exact.link(GRACE)
    assert caplog.messages.count("redis.value_rejected") == 1


async def test_links_of_a_sandbox_in_another_container_are_shared_like_all_others(
    redis_server: RedisServer,
) -> None:
    kombo = OwnLinks("ours", origin="http://sandbox:8001")
    async with workers(2, kombo, redis_server, api_url="http://sandbox:8001/v1") as (first, second):
        assert await first.link() == await second.link() == "http://sandbox:8001/1"


def content(**changes: Any) -> bytes:
    """Return the content of a link as an attacker would write it without encryption."""
    valid = {"link": "https://connect.kombo.dev/x", "minted_at": round(time.time() * 1000)}
    return json.dumps({key: value for key, value in (valid | changes).items() if value is not ...}).encode()


POISONED_CONTENTS = {
    "empty": b"",
    "not JSON": b"\xff\xfe",
    "truncated": content()[:-1],
    "no object": b"[]",
    "null": b"null",
    "deeply nested": b'{"link":' + b"[" * 8000 + b"]" * 8000 + b"}",
    "nested deeper than the recursion limit": b"[" * 16_000,
    "javascript": content(link="javascript:alert(1)"),
    "http": content(link="http://connect.kombo.dev/x"),
    "a host that begins like this machine": content(link="http://localhost.evil.example/x"),
    "a link with a line feed": content(link="https://evil.example/\r\nx"),
    "a long link": content(link="https://evil.example/" + "x" * 8192),
    "a number as the link": content(link=1),
    "no link": content(link=...),
    "no time": content(minted_at=...),
    "a time as text": content(minted_at=str(round(time.time() * 1000))),
    "a time that is true": content(minted_at=True),
    "an infinite time": content(minted_at=float("inf")),
    "no time at all": content(minted_at=float("nan")),
    "a negative time": content(minted_at=-1),
    "a huge time": content(minted_at=10**400),
    "a time in the future": content(minted_at=round(time.time() * 1000) + HOUR_MS),
    "a time an hour ago": content(minted_at=round(time.time() * 1000) - HOUR_MS),
    "another field": content(expires_at="2999-01-01T00:00:00Z"),
    "half an emoji": b'{"link": "https://evil.example/\\ud83d", "minted_at": 1}',
}


@pytest.mark.parametrize("poison", POISONED_CONTENTS.values(), ids=POISONED_CONTENTS.keys())
async def test_without_encryption_a_content_that_is_not_ours_is_a_miss_and_is_logged_once(
    poison: bytes,
    sandbox: Sandbox,
    kombo: httpx.AsyncBaseTransport,
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with workers(2, kombo, redis_server) as (first, second), attacker(redis_server) as peer:
        old = await first.link()
        [name] = await new_names(peer, set(), "link")
        stored = await peer.get(name)
        await peer.set(name, stored[:32] + poison, px=HOUR_MS)
        answers = await asyncio.gather(*(worker.request_link() for worker in (first, second) * 5))
        assert {answer.status_code for answer in answers} == {200}
        [new] = {answer.json()["link"] for answer in answers}
        assert new != old
        assert "evil" not in new
        assert await second.link() == new
    assert minted(sandbox) == 2
    assert 1 <= caplog.messages.count("redis.value_rejected") <= 2  # once in each process
    assert "evil" not in caplog.text


KINDS = (b"link", b"generation", b"lease", b"failure", b"cool-down", b"invalidation", b"rate")
VALUES: dict[str, tuple[Any, ...]] = {
    "text": ("set", "x"),
    "as long as an id": ("set", "x" * 16),
    "a link without an id": ("set", "x" * 32),
    "another type": ("rpush", "x"),
    "a huge value": ("set", b"x" * 30_000_000),
    "nothing": ("set", ""),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
async def test_no_value_under_any_name_fails_a_request_or_delays_it_for_long(
    value: tuple[str, Any], sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with attacker(redis_server) as peer:
        async with workers(1, kombo, redis_server) as (observed,):
            names = await names_of_one_life(observed, sandbox, peer)
        command, argument = value
        async with workers(2, kombo, redis_server) as (first, second):
            for kind in (
                b"link",
                b"generation",
                b"lease",
                b"failure",
                b"cool-down",
                b"invalidation",
                b"rate",
            ):
                await peer.flushall()
                poisoned = [name for name in names if name.split(b":")[1] == kind]
                assert poisoned
                for name in poisoned:
                    await getattr(peer, command)(name, argument)
                async with asyncio.timeout(9):
                    await both_serve_one_link(first, second)
                    await first.complete(sandbox, await first.link(), f"tool-{kind.decode()}")
                    await both_serve_one_link(first, second)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["link", "minted_at", "kind", "message", "attributes", "retry_after"]), inner
        )
    ),
    max_leaves=12,
)
BYTES = st.binary(max_size=80) | JSON.map(lambda value: json.dumps(value).encode())
# How much of the true value is kept before the bytes: nothing, its generation, or its mint id, too.
POISONS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.sampled_from([0, 16, 32]), BYTES, st.sampled_from([None, HOUR_MS])),
    min_size=20,
    max_size=20,
)


@pytest.mark.integration
@given(poisons=POISONS)
@settings(max_examples=5, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_no_bytes_under_any_name_fail_a_request(
    poisons: list[tuple[bytes, int, bytes, int | None]], redis_server: RedisServer
) -> None:
    asyncio.run(request_links_from_poisoned_names(poisons, redis_server))


async def request_links_from_poisoned_names(
    poisons: list[tuple[bytes, int, bytes, int | None]], redis: RedisServer
) -> None:
    sandbox = Sandbox(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET)
    kombo = httpx.ASGITransport(sandbox.app)
    async with attacker(redis) as peer:
        await peer.flushall()
        async with workers(1, kombo, redis) as (observed,):
            names = await names_of_one_life(observed, sandbox, peer)
        await peer.flushall()
        async with workers(1, kombo, redis, link_rate="1000/second") as (worker,):
            for kind, kept, value, lifetime_ms in poisons:
                for name in [name for name in names if name.split(b":")[1] == kind]:
                    is_text = await peer.type(name) == b"string"
                    before = (await peer.get(name) or b"") if is_text else b""
                    await peer.set(name, before[:kept] + value, px=lifetime_ms)
                async with asyncio.timeout(9):
                    assert (await worker.link()).startswith("http://localhost:8001/")
                    assert (await worker.link(fresh=True)).startswith("http://localhost:8001/")
            assert (await worker.health())["status"] == "ok"
    await sandbox.aclose()


async def both_serve_one_link(first: Worker, second: Worker) -> None:
    answers = await asyncio.gather(*(worker.request_link() for worker in (first, second)))
    assert {answer.status_code for answer in answers} == {200}
    for _ in range(3):
        links = {await second.link(), await first.link()}
        if len(links) == 1:
            break  # else a poll has just applied a completion again, whose mark in Redis was deleted
    assert len(links) == 1
    assert [(await worker.health())["status"] for worker in (first, second)] == ["ok", "ok"]


async def names_of_one_life(worker: Worker, sandbox: Sandbox, peer: Any) -> list[bytes]:
    """Return the names of Ada's that a mint, a failure, a cool-down and a completion write."""
    await peer.config_set("notify-keyspace-events", "KA")
    async with peer.pubsub() as events:
        await events.psubscribe("__keyspace@0__:*")
        await events.get_message(timeout=5)  # subscribed
        link = await worker.link()
        await order_fault(sandbox, "create-link", "unauthorized")
        await worker.request_link(fresh=True)
        await worker.complete(sandbox, link, "personio")
        await order_fault(sandbox, "create-link", "rate_limited", retry_after=60)
        await worker.request_link(fresh=True)
        names = set()
        while message := await events.get_message(ignore_subscribe_messages=True, timeout=0.2):
            names.add(message["channel"].removeprefix(b"__keyspace@0__:"))
    return sorted(names)


async def test_a_lease_without_an_end_delays_nobody(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with workers(1, kombo, redis_server) as (worker,), attacker(redis_server) as peer:
        held = HeldTransport(kombo)
        async with workers(1, held, redis_server) as (slow,):
            minting = asyncio.create_task(slow.link())
            await held.reached()
            [lease] = await new_names(peer, set(), "lease")
            held.release()
            await minting
        await peer.flushall()
        for lifetime in ({}, {"px": 10 * HOUR_MS}):
            await peer.set(lease, b"x" * 16, **lifetime)
            async with asyncio.timeout(9):
                await worker.link(fresh=True)


@pytest.mark.parametrize("lifetime_ms", [-1, HOUR_MS + 1000, 2**60])
async def test_a_cool_down_of_more_than_an_hour_is_ignored(
    lifetime_ms: int, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with workers(1, kombo, redis_server) as (limited,), attacker(redis_server) as peer:
        await order_fault(sandbox, "create-link", "rate_limited", retry_after=60)
        assert (await limited.request_link()).status_code == 503
        await eventually(lambda: redis_server.reply("KEYS", "kombo-embed:cool-down:*") != b"*0\r\n")
        [name] = await new_names(peer, set(), "cool-down")
        await (peer.persist(name) if lifetime_ms < 0 else peer.pexpire(name, lifetime_ms))
        async with workers(1, kombo, redis_server) as (other,):
            await other.link(GRACE)
            assert (await other.health())["status"] == "ok"


GARBAGE = st.recursive(
    st.none()
    | st.integers()
    | st.binary(max_size=64)
    | st.sampled_from([b"link", b"lease", b"failure", b"cool_down"]),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=8,
)


@given(replies=st.lists(GARBAGE, min_size=1, max_size=4))
@settings(max_examples=25, deadline=None, phases=[Phase.generate])
def test_no_reply_of_an_impostor_fails_a_request(replies: list[Any]) -> None:
    asyncio.run(request_links_from_an_impostor([encode(reply) for reply in replies]))


@pytest.mark.parametrize(
    "reply",
    [
        b"*1\r\n" * 50_000 + b":1\r\n",
        b"$1000000000\r\nx",
        b"*1000000000\r\n",
        b":" + b"9" * 10_000 + b"\r\n",
        b"*-1\r\n",
        b"$-7\r\n",
        b"*4\r\n$4\r\nlink\r\n$0\r\n\r\n:99999999999999999999\r\n$0\r\n\r\n",
        b"\x00\xff",
        b"-MOVED 1 evil.example:1\r\n",
        b"-NOPERM\r\n",
        b"-\r\n",
        b"",
    ],
)
async def test_no_malformed_reply_fails_a_request(reply: bytes) -> None:
    await request_links_from_an_impostor([reply])


@pytest.mark.parametrize("reply", [1, b"x", None, [1], [[]], [None, b"get"], [[[b"get"]]]])
async def test_no_reply_of_an_impostor_fails_the_start(reply: Any) -> None:
    async with RedisImpostor() as impostor:
        impostor.replies = [encode(reply)]
        async with workers(1, OwnLinks("ours"), redis_url=impostor.url) as (worker,):
            assert await worker.link() == "https://ours.example/1"
            assert (await worker.health())["status"] == "degraded"


async def request_links_from_an_impostor(replies: list[bytes]) -> None:
    kombo = OwnLinks("ours")
    async with RedisImpostor() as impostor, workers(1, kombo, redis_url=impostor.url) as (worker,):
        assert (await worker.health())["status"] == "ok"
        impostor.replies = replies
        async with asyncio.timeout(15):
            answers = await asyncio.gather(*(worker.request_link(who) for who in (ADA, GRACE, ADA)))
        for answer in answers:
            assert answer.status_code == 200, answer.text
            assert answer.json()["link"].startswith("https://ours.example/")


def encode(reply: Any) -> bytes:
    """Return a value in Redis's protocol."""
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
    return b"*%d\r\n" % len(reply) + b"".join(encode(one) for one in reply)
