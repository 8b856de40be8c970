"""Several hosts of one Kombo environment that share a Redis, as several worker processes do."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from redis.asyncio import Redis

from kombo_embed import ConfigurationError, EndUser
from kombo_embed.clock import SystemClock
from kombo_embed.errors import (
    IntegrationNotFound,
    KomboEmbedError,
    KomboError,
    KomboInvalidResponse,
    KomboRateLimited,
    KomboRejected,
    KomboTimeout,
    KomboUnavailable,
    RateLimited,
    StoreUnavailable,
)
from kombo_embed.link_cache import redis_scripts
from kombo_embed.link_cache.encryption import LinkCipher
from kombo_embed.link_cache.failover import FailoverLinkCache
from kombo_embed.link_cache.memory import MemoryLinkCache
from kombo_embed.link_cache.redis import RedisLinkStore
from kombo_embed.link_cache.redis_client import RedisClient, RedisTimeout, RedisUnavailable
from kombo_embed.link_cache.redis_position import RedisPosition
from kombo_embed.link_cache.redis_values import FAILURES, Scope, parse_failure, serialize_failure
from kombo_embed.models import CacheKey, ConnectionLink, LinkRequest
from kombo_embed.ports import Invalidation
from kombo_embed.sandbox import Sandbox
from tests.fakes import HeldTransport
from tests.link_cache.workers import GRACE, workers
from tests.redis_server import RedisServer
from tests.store.samples import opened_store
from tests.support import SQLITE_URL, LogRecorder, eventually, make_host, minted, order_fault

UNLIMITED = "100000/second"  # one end user makes all the requests
ROUNDS = 1000 if os.environ.get("LINKS_SOAK") else 15
KEY = CacheKey(
    "default", EndUser(email="a@b.example", organization_name="B", origin_id="b"), LinkRequest("HRIS", "en")
)


async def test_a_link_minted_by_one_worker_is_a_hit_in_the_others(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with workers(3, kombo, redis_server) as (first, second, third):
        answers = [await worker.request_link() for worker in (first, second, third)]
    assert [answer.content for answer in answers] == [answers[0].content] * 3
    assert answers[0].headers["cache-status"] == "kombo-embed; fwd=uri-miss; stored"
    assert answers[1].headers["cache-status"].startswith("kombo-embed; hit; ttl=3")
    assert minted(sandbox) == 1


async def test_concurrent_requests_for_one_link_share_a_few_lookups(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with workers(1, kombo, redis_server) as (worker,):
        await worker.link()
        before = redis_server.calls("evalsha")
        answers = await asyncio.gather(*(worker.request_link() for _ in range(200)))
        assert {answer.status_code for answer in answers} == {200}
        assert redis_server.calls("evalsha") - before < 50


async def test_first_requests_to_several_workers_at_once_are_one_call_to_kombo(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with workers(4, kombo, redis_server) as several:
        answers = await asyncio.gather(*(worker.request_link() for worker in several for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    stored = [answer for answer in answers if answer.headers["cache-status"].endswith("stored")]
    assert (len(stored), minted(sandbox)) == (1, 1)


async def test_a_completion_on_one_worker_invalidates_the_links_of_all_others(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    unlimited = {"link_rate": UNLIMITED, "completion_rate": UNLIMITED}
    async with workers(3, kombo, redis_server, **unlimited) as (first, second, third):
        for number in range(ROUNDS):
            old = await first.link(GRACE)
            assert await second.link(GRACE) == old
            await first.complete(sandbox, await first.link(), f"tool-{number}")
            links = await asyncio.gather(second.link(GRACE), third.link(GRACE), first.link(GRACE))
            assert old not in links
            assert len(set(links)) == 1


async def test_a_link_minted_while_another_worker_completes_is_not_cached(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    held = HeldTransport(kombo)
    async with workers(1, held, redis_server) as (slow,), workers(1, kombo, redis_server) as (other,):
        minting = asyncio.create_task(slow.request_link(GRACE))
        await held.reached()
        await other.complete(sandbox, await other.link(), "personio")
        held.release()
        assert (await minting).status_code == 200
        assert held.calls == 2  # the invalidated link, and its replacement
        assert await other.link(GRACE) == (await minting).json()["link"]


async def test_fresh_replaces_the_link_of_all_and_joins_the_mint_of_another_worker(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    held = HeldTransport(kombo)
    async with workers(1, held, redis_server) as (slow,), workers(2, kombo, redis_server) as (second, third):
        old = await second.link()
        minting = asyncio.create_task(slow.link(fresh=True))
        await held.reached()
        joining = asyncio.create_task(second.link(fresh=True))
        assert await third.link() == old  # without fresh, there is nothing to wait for
        held.release()
        assert await minting == await joining == await third.link() != old
    assert minted(sandbox) == 2


async def test_a_failed_mint_fails_the_requests_that_wait_in_other_workers_but_no_later_ones(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    held = HeldTransport(kombo)
    async with workers(1, held, redis_server) as (slow,), workers(3, kombo, redis_server) as others:
        await order_fault(sandbox, "create-link", "unauthorized", times=1)
        minting = asyncio.create_task(slow.request_link())
        await held.reached()
        before = redis_server.calls("evalsha")
        waiting = [asyncio.create_task(worker.request_link()) for worker in others for _ in range(10)]
        await eventually(lambda: redis_server.calls("evalsha") > before + 60)
        held.release()
        answers = await asyncio.gather(minting, *waiting)
        assert {answer.json()["code"] for answer in answers} == {"kombo_rejected"}
        assert minted(sandbox) == 1
        assert (await others[0].request_link()).status_code == 200


async def test_a_lease_is_renewed_while_its_mint_runs(redis_server: RedisServer) -> None:
    async with shared_cache(redis_server, lease_seconds=0.2) as slow, shared_cache(redis_server) as other:
        async with slow.lease(KEY, fresh=False) as lease:
            waiting = asyncio.create_task(mint(other))
            await asyncio.wait({waiting}, timeout=0.8)
            assert not waiting.done()
            await lease.put(make_link("slow"))
        assert (await waiting).link == "https://k.example/slow"


async def test_a_lease_whose_process_died_expires(redis_server: RedisServer) -> None:
    async with shared_cache(redis_server, lease_seconds=0.2) as other:
        async with link_store(redis_server, lease_seconds=0.2) as died:
            await died.acquire(KEY, mint=b"m" * 16, awaited=b"", fresh=False)
        assert (await mint(other)).link == "https://k.example/own"


async def test_what_a_worker_of_the_first_release_writes_to_invalidate_a_link_invalidates_it(
    redis_server: RedisServer,
) -> None:
    """Its script deletes the generation, unless the invalidation's marker exists, and sets the marker."""
    cipher = LinkCipher()
    generation, marker = (
        cipher.invalidation_name("generation", "default", "b").decode(),
        cipher.invalidation_name("invalidation", "default", "an-id").decode(),
    )
    invalidation = Invalidation(1, "an-id", "b")
    async with shared_cache(redis_server) as cache:
        redis_server.command("SET", generation, "g" * 16, "PX", "3660000")  # as it mints for a colleague
        await mint(cache)
        assert redis_server.reply("GET", generation) == b"$16\r\n" + b"g" * 16 + b"\r\n"
        assert await cache.get(KEY) is not None
        assert redis_server.command("DEL", generation) == b":1"
        redis_server.command("SET", marker, "1", "PX", "7200000")
        assert await cache.get(KEY) is None
        await mint(cache)
        await cache.invalidate("default", invalidation)  # the same one, from the database
        assert await cache.get(KEY) is not None


async def test_a_link_that_never_expires_in_redis_is_a_miss(redis_server: RedisServer) -> None:
    async with shared_cache(redis_server) as cache:
        await mint(cache)
        assert await cache.get(KEY) is not None
        [name] = [line for line in redis_server.reply("KEYS", "*:link:*").split(b"\r\n") if b"link" in line]
        redis_server.command("PERSIST", name.decode())
        assert await cache.get(KEY) is None


async def test_a_lease_that_changes_hands_for_ever_does_not_delay_for_ever(redis_server: RedisServer) -> None:
    options = {"lease_seconds": 0.2, "mint_timeout_seconds": 0.1}
    async with shared_cache(redis_server, **options) as cache, link_store(redis_server) as others:
        await others.acquire(KEY, mint=b"m" * 16, awaited=b"", fresh=False)
        [lease] = [
            line for line in redis_server.reply("KEYS", "*:lease:*").split(b"\r\n") if b"lease" in line
        ]
        waiting = asyncio.create_task(mint(cache))
        holder = 0
        while not waiting.done():
            redis_server.command("SET", lease.decode(), f"{holder:016}", "PX", "5000")
            holder += 1
            await asyncio.wait({waiting}, timeout=0.05)
        with pytest.raises(KomboTimeout):
            await waiting


async def test_acquiring_a_lease_again_after_a_lost_reply_does_not_wait_for_itself(
    redis_server: RedisServer,
) -> None:
    async with link_store(redis_server) as store:
        first = await store.acquire(KEY, mint=b"m" * 16, awaited=b"", fresh=False)
        again = await store.acquire(KEY, mint=b"m" * 16, awaited=b"", fresh=False)
        assert type(first) is type(again)
        assert await store.acquire(KEY, mint=b"n" * 16, awaited=b"", fresh=False) == b"m" * 16


async def test_a_lookup_is_shared_only_by_callers_that_came_before_it_was_sent() -> None:
    client = HeldClient("redis://127.0.0.1")
    store = make_store(client)
    first = asyncio.create_task(store.get(KEY))
    await client.sent.wait()
    later = [asyncio.create_task(store.get(KEY)) for _ in range(10)]
    await asyncio.sleep(0)
    assert client.calls == 1
    client.reply.set()
    assert await asyncio.gather(first, *later) == [None] * 11
    assert client.calls == 2


async def test_callers_that_wait_for_a_lookup_also_get_its_failure() -> None:
    client = HeldClient("redis://127.0.0.1")
    store = make_store(client)
    client.error = RedisUnavailable("TimeoutError")
    first = asyncio.create_task(store.get(KEY))
    await client.sent.wait()
    later = asyncio.create_task(store.get(KEY))
    await asyncio.sleep(0)
    client.reply.set()
    assert [*await asyncio.gather(first, later, return_exceptions=True)] == [client.error] * 2
    assert client.calls == 1
    client.error = None
    assert await store.get(KEY) is None


async def test_a_busy_event_loop_is_not_mistaken_for_a_slow_redis(redis_server: RedisServer) -> None:
    async with link_client(redis_server) as client:
        calls = [asyncio.create_task(client.run(redis_scripts.GET, [b"a", b"b"])) for _ in range(10)]
        await asyncio.sleep(0)
        for _ in range(10):
            time.sleep(0.3)  # noqa: ASYNC251 - the event loop is blocked for longer than a deadline
            await asyncio.sleep(0)
        assert await asyncio.gather(*calls) == [None] * 10


async def test_a_late_call_does_not_count_as_an_outage_while_redis_answers_a_ping(
    redis_server: RedisServer,
) -> None:
    async with link_client(redis_server) as client, shared_cache(redis_server) as cache:
        redis_server.command("CLIENT", "PAUSE", "10000", "WRITE")
        with pytest.raises(RedisTimeout):
            await client.run(redis_scripts.GET, [b"a", b"b"])
        assert await cache.get(KEY) is None
        assert cache.is_up
        redis_server.command("CLIENT", "UNPAUSE")
        assert (await mint(cache)).link == "https://k.example/own"
        assert await cache.get(KEY) is not None


async def test_redis_counts_as_down_when_neither_a_call_nor_a_ping_is_answered(
    redis_server: RedisServer,
) -> None:
    async with link_client(redis_server) as client:
        redis_server.pause()
        calls = [client.run(redis_scripts.GET, [b"a", b"b"]) for _ in range(30)]
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(error) for error in errors} == {RedisUnavailable}
        redis_server.resume()


@pytest.mark.parametrize("info_is_permitted", [True, False])
async def test_a_connection_to_another_server_process_is_refused_until_connect(
    info_is_permitted: bool, redis_server: RedisServer
) -> None:
    if not info_is_permitted:
        redis_server.command("ACL", "SETUSER", "default", "-info")
    async with link_client(redis_server) as client:
        await asyncio.gather(*(client.run(redis_scripts.RENEW, [b"a"], b"m" * 16, 1000) for _ in range(20)))
        redis_server.stop()
        redis_server.start()
        if not info_is_permitted:
            redis_server.command("ACL", "SETUSER", "default", "-info")
        with pytest.raises(RedisUnavailable):
            await client.run(redis_scripts.RENEW, [b"a"], b"m" * 16, 1000)
        await client.connect()
        assert await client.run(redis_scripts.RENEW, [b"a"], b"m" * 16, 1000) == 0


async def test_a_connection_that_redis_closed_is_opened_again(redis_server: RedisServer) -> None:
    async with link_client(redis_server) as client:
        redis_server.command("CLIENT", "KILL", "TYPE", "normal")
        redis_server.command("SCRIPT", "FLUSH")
        await asyncio.sleep(0.05)  # until the end of the connection has arrived
        assert await client.run(redis_scripts.RENEW, [b"a"], b"m" * 16, 1000) == 0


@pytest.mark.parametrize(
    "error",
    [
        KomboRateLimited("Too many requests.", retry_after=7, has_retry_after=True),
        KomboUnavailable("Down.", retry_after=3600, retryable=False, sent=False),
        KomboTimeout("Late."),
        KomboRejected("Refused.", kombo_code="PLATFORM.INPUT_INVALID", cause="request"),
        KomboRejected("Refused.", kombo_code=None, cause="credentials"),
        KomboInvalidResponse("No link."),
        IntegrationNotFound("None."),
        RateLimited("Too many.", retry_after=60),
        StoreUnavailable("Down.", retry_after=5, retryable=True),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_failure_reaches_other_processes_with_its_attributes(error: KomboEmbedError) -> None:
    parsed = parse_failure(serialize_failure(error))
    assert (type(parsed), str(parsed), vars(parsed)) == (type(error), str(error), vars(error))


def test_every_error_of_kombo_reaches_other_processes() -> None:
    assert set(KomboError.__subclasses__()) <= FAILURES.keys()
    assert serialize_failure(ValueError("a bug")) == b""


def test_a_failure_asks_for_a_wait_of_at_most_an_hour() -> None:
    parsed = parse_failure(serialize_failure(RateLimited("Too many.", retry_after=86_400)))
    assert isinstance(parsed, RateLimited)
    assert parsed.retry_after == 3600


def failure(**changes: Any) -> bytes:
    valid = {"kind": "KomboRateLimited", "message": "x", "attributes": {"retry_after": 7}}
    return json.dumps(valid | changes).encode()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"[" * 16_000,
        b'{"attributes":' * 5_000,
        failure(kind="SystemExit"),
        failure(kind="ConfigurationError"),
        failure(kind=["KomboTimeout"]),
        failure(message="x" * 201),
        failure(message=None),
        failure(attributes={}, kind="KomboRejected"),
        failure(attributes={"retry_after": 7, "sent": True}),
        failure(attributes={"retry_after": 3601}),
        failure(attributes={"retry_after": -1}),
        failure(attributes={"retry_after": "7"}),
        failure(attributes={"retry_after": 10**400}),
        failure(attributes={"retry_after": 7, "args": []}),
        failure(attributes={"kombo_code": "<script>", "cause": "other"}, kind="KomboRejected"),
        failure(attributes={"kombo_code": None, "cause": "any"}, kind="KomboRejected"),
        b'{"kind": "KomboTimeout", "message": "\\ud83d", "attributes": {}}',
    ],
)
def test_a_failure_that_is_not_ours_is_rejected(value: bytes) -> None:
    assert parse_failure(failure()) is not None
    assert parse_failure(value) is None


async def test_a_cool_down_of_one_worker_applies_to_all(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with workers(2, kombo, redis_server) as (limited, other):
        await order_fault(sandbox, "create-link", "rate_limited", times=1, retry_after=60)
        first = await limited.request_link()
        assert (first.status_code, first.json()["code"]) == (503, "kombo_rate_limited")
        second = await other.request_link(GRACE)
        assert (second.status_code, second.json()["code"]) == (503, "kombo_rate_limited")
        assert 55 <= int(second.headers["retry-after"]) <= 60
    assert minted(sandbox) == 1


async def test_redis_holds_no_name_and_with_an_encryption_key_no_link(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    key = Fernet.generate_key().decode()
    async with workers(1, kombo, redis_server, link_encryption_keys=key) as (worker,):
        link = await worker.link()
        peer: Any = Redis.from_url(redis_server.url)
        names = [name async for name in peer.scan_iter()]
        links = [name for name in names if await peer.type(name) == b"string"]
        values = [await peer.get(name) for name in links]
        await peer.aclose()
    seen = b" ".join([*names, *values])
    for secret in (
        b"ada@",
        b"@acme",
        b"Acme,",
        link.encode(),
        b"http:",
        b"token=",
    ):  # hex and base64 have short words
        assert secret not in seen
    assert len(links) >= 2
    assert len(names) > len(links)  # a rate is a sorted set


async def test_encryption_keys_can_be_rotated(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    async with workers(1, kombo, redis_server, link_encryption_keys=old) as (worker,):
        await worker.link()
    async with workers(2, kombo, redis_server, link_encryption_keys=f"{new},{old}") as (first, second):
        assert await first.link() == await second.link()
    assert minted(sandbox) == 2


@pytest.mark.parametrize("value", [b"", b"x" * 10, b"y" * 500])
async def test_a_link_that_cannot_be_decrypted_is_a_miss(
    value: bytes, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    key = Fernet.generate_key().decode()
    async with workers(2, kombo, redis_server, link_encryption_keys=key) as (first, second):
        old = await first.link()
        peer: Any = Redis.from_url(redis_server.url)
        [name] = [name async for name in peer.scan_iter("kombo-embed:link:*")]
        stored = await peer.get(name)
        await peer.set(name, stored[:32] + value, ex=3000)
        await peer.aclose()
        new = await second.link()
        assert new != old
        assert await first.link() == new
    assert minted(sandbox) == 2


async def test_environments_that_share_a_redis_share_no_links(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with (
        workers(1, kombo, redis_server, environment="eu") as (one,),
        workers(1, kombo, redis_server, environment="us") as (other,),
    ):
        link = await other.link(GRACE)
        assert await one.link(GRACE) != link
        await one.complete(sandbox, await one.link(), "personio")
        assert await other.link(GRACE) == link


async def test_redis_can_be_a_unix_socket_with_a_database_number(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with workers(1, kombo, redis_server, redis_url=f"unix://{redis_server.socket}?db=3") as (worker,):
        await worker.link()
        assert (await worker.health())["checks"]["redis"] == "ok"
    peer = Redis.from_url(redis_server.url.removesuffix("0") + "3")
    assert [name async for name in peer.scan_iter("kombo-embed:link:*")]
    await peer.aclose()


async def test_everything_in_redis_expires_and_links_with_their_hour(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with workers(1, kombo, redis_server) as (worker,):
        await worker.link()
        peer: Any = Redis.from_url(redis_server.url)
        [name] = [name async for name in peer.scan_iter("kombo-embed:link:*")]
        assert 3595_000 < await peer.pttl(name) <= 3600_000
        await peer.pexpire(name, 299_000)
        assert (await worker.request_link()).headers["cache-status"].endswith("stored")
        assert await peer.pttl(name) > 3590_000
        for other in [name async for name in peer.scan_iter()]:
            assert await peer.pttl(other) > 0, other
        await peer.aclose()


async def test_without_the_redis_client_the_start_fails_and_names_the_extra(
    kombo: httpx.AsyncBaseTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    for name in ("redis", "redis_client", "failover"):
        monkeypatch.delitem(sys.modules, f"kombo_embed.link_cache.{name}", raising=False)
        monkeypatch.delattr(f"kombo_embed.link_cache.{name}", raising=False)
    _, embed = make_host(kombo, redis_url="redis://localhost")
    with pytest.raises(ConfigurationError, match="with its extra 'redis'"):
        await embed.open()
    await embed.close()


async def test_an_unknown_option_in_the_url_fails_the_start(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    _, embed = make_host(kombo, redis_url="redis://user:secret@localhost/0?nonsense=1")
    with pytest.raises(ConfigurationError, match="KOMBO_REDIS_URL") as caught:
        await embed.open()
    await embed.close()
    assert "secret" not in str(caught.value)


async def test_neither_a_link_nor_an_email_nor_the_password_reaches_a_log(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, sandbox: Sandbox
) -> None:
    redis_server.command("CONFIG", "SET", "requirepass", "a-pass-word")
    url = redis_server.url.replace("redis://", "redis://:a-pass-word@")
    recorder, root = LogRecorder(), logging.getLogger()
    before = root.level
    root.addHandler(recorder)
    root.setLevel(logging.DEBUG)
    try:
        async with workers(2, kombo, redis_url=url) as (first, second):
            link = await first.link()
            await second.link()
            await first.complete(sandbox, link, "personio")
            assert (await first.health())["status"] == "ok"
        async with workers(1, kombo, redis_url=url.replace("a-pass", "a-wrong-pass")) as (locked_out,):
            await locked_out.link()
            assert (await locked_out.health())["status"] == "degraded"
    finally:
        root.setLevel(before)
        root.removeHandler(recorder)
    text = recorder.text()
    assert "redis.unavailable" in text
    assert "AuthenticationError" in text
    for secret in (link, "ada@acme.example", "pass-word"):
        assert secret not in text


@pytest.mark.parametrize(("url", "warned"), [("redis://127.0.0.1:1", 0), ("redis://redis.invalid:1", 1)])
async def test_unencrypted_links_on_another_machine_cause_one_warning(
    url: str, warned: int, kombo: httpx.AsyncBaseTransport, caplog: pytest.LogCaptureFixture
) -> None:
    async with workers(1, kombo, redis_url=url) as (worker,):
        await worker.link()
    assert caplog.messages.count("redis.unencrypted_links") == warned


class HeldClient(RedisClient):
    """Counts calls and holds them until ``reply`` is set, then raises ``error`` if there is one."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.calls = 0
        self.error: Exception | None = None
        self.sent = asyncio.Event()
        self.reply = asyncio.Event()

    async def run(
        self,
        script: str,
        keys: Sequence[bytes],
        *arguments: bytes | str | int,
        patience_seconds: float = 0,
    ) -> Any:
        del script, keys, arguments, patience_seconds
        self.calls += 1
        self.sent.set()
        await self.reply.wait()
        if self.error is not None:
            raise self.error


def make_store(client: RedisClient, **options: Any) -> RedisLinkStore:
    return RedisLinkStore(
        client,
        LinkCipher(),
        scope=Scope("an-account", "default", "https://api.kombo.dev/v1"),
        lifetime_seconds=3600,
        margin_seconds=300,
        clock=SystemClock(),
        **options,
    )


@asynccontextmanager
async def link_client(redis: RedisServer) -> AsyncIterator[RedisClient]:
    client = RedisClient(redis.url)
    await client.connect()
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def link_store(redis: RedisServer, **options: Any) -> AsyncIterator[RedisLinkStore]:
    async with link_client(redis) as client:
        store = make_store(client, **options)
        # That of the caches which run.
        epochs = re.findall(rb"[0-9a-f]{16}\r\n", redis.reply("HGET", *position_names(redis), "epoch"))
        store.epoch = epochs[0].strip() if epochs else b""
        yield store


def position_names(redis: RedisServer) -> list[str]:
    lines = redis.reply("KEYS", "*:position:*").split(b"\r\n")
    return [line.decode() for line in lines if b"position" in line] or ["none"]


@asynccontextmanager
async def shared_cache(
    redis: RedisServer, *, mint_timeout_seconds: float = 10, **options: Any
) -> AsyncIterator[FailoverLinkCache]:
    clock = SystemClock()
    async with link_client(redis) as client, opened_store(SQLITE_URL) as records:
        store = make_store(client, **options)
        position = RedisPosition(
            client, LinkCipher(), links=store, log=records.invalidations, database=records.name
        )
        cache = FailoverLinkCache(
            store,
            make_memory=lambda: MemoryLinkCache(size=10, lifetime_seconds=3600, clock=clock),
            position=position,
            environment="default",
            mint_timeout_seconds=mint_timeout_seconds,
            clock=clock,
        )
        await cache.open(apply_cool_down=lambda _: None)
        try:
            yield cache
        finally:
            await cache.aclose()


def make_link(name: str) -> ConnectionLink:
    expires_at, deadline = datetime.now(UTC) + timedelta(hours=1), SystemClock().monotonic() + 3600
    return ConnectionLink.minted(f"https://k.example/{name}", expires_at=expires_at, deadline=deadline)


async def mint(cache: FailoverLinkCache) -> ConnectionLink:
    """Return the link of another holder, or cache one of our own."""
    async with cache.lease(KEY, fresh=False) as lease:
        if lease.link is None:
            link = make_link("own")
            assert await lease.put(link)
            return link
        return lease.link
