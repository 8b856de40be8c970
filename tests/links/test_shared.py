"""Several embeds of one Kombo environment that share a Redis, as several worker processes do."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from redis.asyncio import Redis

from kombo_embed import ConfigurationError
from kombo_embed.link_cache import failover, redis, redis_line
from kombo_embed.sandbox import Sandbox
from tests.links.workers import GRACE, HeldTransport, workers
from tests.redis_server import RedisServer
from tests.support import LogRecorder, eventually, make_host, minted, order_fault

OFTEN = "100000/second"  # one person makes all the requests
TRIES = 1000 if os.environ.get("LINKS_SOAK") else 15


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shared is tested here, not what happens when a busy machine holds Redis up for a moment."""
    monkeypatch.setattr(redis_line, "DEADLINE", 5.0)
    monkeypatch.setattr(redis_line, "DEADLINE_BUSY", 10.0)


async def test_a_link_minted_by_one_worker_is_handed_out_by_the_others(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with workers(3, kombo, redis_server) as (first, second, third):
        answers = [await worker.ask() for worker in (first, second, third)]
    assert [answer.content for answer in answers] == [answers[0].content] * 3
    assert answers[0].headers["cache-status"] == "kombo-embed; fwd=uri-miss; stored"
    assert answers[1].headers["cache-status"].startswith("kombo-embed; hit; ttl=3")
    assert minted(sandbox) == 1


async def test_many_who_ask_at_once_for_the_same_link_keep_redis_no_busier_than_a_few(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    def scripts_run() -> int:
        told = redis_server.answer("INFO", "commandstats").decode()
        return int(told.partition("cmdstat_evalsha:calls=")[2].partition(",")[0])

    async with workers(1, kombo, redis_server) as (worker,):
        await worker.link()
        before = scripts_run()
        answers = await asyncio.gather(*(worker.ask() for _ in range(200)))
        assert {answer.status_code for answer in answers} == {200}
        assert scripts_run() - before < 50


async def test_first_requests_to_several_workers_at_once_are_one_call_to_kombo(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with workers(4, kombo, redis_server) as several:
        answers = await asyncio.gather(*(worker.ask() for worker in several for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    stored = [answer for answer in answers if answer.headers["cache-status"].endswith("stored")]
    assert (len(stored), minted(sandbox)) == (1, 1)


async def test_a_completion_on_one_worker_ends_the_links_that_all_others_hand_out(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    often = {"link_rate": OFTEN, "completion_rate": OFTEN}
    async with workers(3, kombo, redis_server, **often) as (first, second, third):
        for number in range(TRIES):
            old = await first.link(GRACE)
            assert await second.link(GRACE) == old
            await first.complete(sandbox, await first.link(), f"tool-{number}")
            links = await asyncio.gather(second.link(GRACE), third.link(GRACE), first.link(GRACE))
            assert old not in links
            assert len(set(links)) == 1


async def test_a_link_minted_while_another_worker_completes_is_not_kept(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    gate = HeldTransport(kombo)
    async with workers(1, gate, redis_server) as (slow,), workers(1, kombo, redis_server) as (other,):
        minting = asyncio.create_task(slow.ask(GRACE))
        await gate.reached.wait()
        await other.complete(sandbox, await other.link(), "personio")
        gate.open.set()
        assert (await minting).status_code == 200
        assert gate.calls == 2  # the dropped one, and the one that replaced it
        assert await other.link(GRACE) == (await minting).json()["link"]


async def test_fresh_replaces_the_link_of_all_and_joins_the_mint_of_another_worker(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    gate = HeldTransport(kombo)
    async with workers(1, gate, redis_server) as (slow,), workers(2, kombo, redis_server) as (second, third):
        old = await second.link()
        minting = asyncio.create_task(slow.link(fresh=True))
        await gate.reached.wait()
        joining = asyncio.create_task(second.link(fresh=True))
        assert await third.link() == old  # who does not want a new one does not wait
        gate.open.set()
        assert await minting == await joining == await third.link() != old
    assert minted(sandbox) == 2


async def test_a_failed_mint_is_told_to_those_who_wait_in_other_workers_and_to_nobody_later(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    gate = HeldTransport(kombo)
    async with workers(1, gate, redis_server) as (slow,), workers(3, kombo, redis_server) as others:
        await order_fault(sandbox, "create-link", "unauthorized", times=1)
        minting = asyncio.create_task(slow.ask())
        await gate.reached.wait()
        asked = redis_server.calls("evalsha")
        waiting = [asyncio.create_task(worker.ask()) for worker in others for _ in range(10)]
        await eventually(lambda: redis_server.calls("evalsha") > asked + 60)
        gate.open.set()
        answers = await asyncio.gather(minting, *waiting)
        assert {answer.json()["code"] for answer in answers} == {"kombo_rejected"}
        assert minted(sandbox) == 1
        assert (await others[0].ask()).status_code == 200


async def test_a_mint_that_takes_longer_than_a_lease_keeps_it(
    sandbox: Sandbox,
    kombo: httpx.AsyncBaseTransport,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for room in (redis, failover):
        monkeypatch.setattr(room, "LEASE", 1000)
    gate = HeldTransport(kombo)
    async with workers(1, gate, redis_server) as (slow,), workers(1, kombo, redis_server) as (other,):
        minting = asyncio.create_task(slow.link())
        await gate.reached.wait()
        waiting = asyncio.create_task(other.link())
        await asyncio.wait({waiting}, timeout=2.5)
        gate.open.set()
        assert await waiting == await minting
    assert minted(sandbox) == 1


async def test_while_kombo_tells_one_worker_to_wait_no_other_asks_it(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with workers(2, kombo, redis_server) as (told, other):
        await order_fault(sandbox, "create-link", "rate_limited", times=1, retry_after=60)
        first = await told.ask()
        assert (first.status_code, first.json()["code"]) == (503, "kombo_rate_limited")
        second = await other.ask(GRACE)
        assert (second.status_code, second.json()["code"]) == (503, "kombo_rate_limited")
        assert 55 <= int(second.headers["retry-after"]) <= 60
    assert minted(sandbox) == 1


async def test_what_lies_in_redis_names_nobody_and_with_a_key_shows_no_link(
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
    for secret in (b"ada", b"acme", b"Acme", link.encode(), b"http", b"token"):
        assert secret not in seen
    assert len(links) >= 2
    assert len(names) > len(links)  # a rate is counted


async def test_several_keys_can_be_read_while_they_are_changed(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    async with workers(1, kombo, redis_server, link_encryption_keys=f"{old}") as (worker,):
        await worker.link()
    async with workers(2, kombo, redis_server, link_encryption_keys=f"{new},{old}") as (first, second):
        assert await first.link() == await second.link()
    assert minted(sandbox) == 2


@pytest.mark.parametrize("value", [b"", b"x" * 10, b"y" * 500])
async def test_a_value_that_cannot_be_read_is_as_good_as_none(
    value: bytes, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    key = Fernet.generate_key().decode()
    async with workers(2, kombo, redis_server, link_encryption_keys=key) as (first, second):
        old = await first.link()
        peer: Any = Redis.from_url(redis_server.url)
        [name] = [name async for name in peer.scan_iter("kombo-embed:link:*")]
        whole = await peer.get(name)
        await peer.set(name, whole[:32] + value, ex=3000)
        await peer.aclose()
        new = await second.link()
        assert new != old
        assert await first.link() == new
    assert minted(sandbox) == 2


async def test_environments_that_share_a_redis_share_nothing_else(
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


async def test_redis_is_reached_by_a_unix_socket_and_with_a_database_number(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with workers(1, kombo, redis_server, redis_url=f"unix://{redis_server.socket}?db=3") as (worker,):
        await worker.link()
        assert (await worker.health())["checks"]["redis"] == "ok"
    peer = Redis.from_url(redis_server.url.removesuffix("0") + "3")
    assert [name async for name in peer.scan_iter("kombo-embed:link:*")]
    await peer.aclose()


async def test_a_link_kept_in_redis_ends_when_its_hour_does(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    async with workers(1, kombo, redis_server) as (worker,):
        await worker.link()
        peer: Any = Redis.from_url(redis_server.url)
        [name] = [name async for name in peer.scan_iter("kombo-embed:link:*")]
        assert 3595_000 < await peer.pttl(name) <= 3600_000
        await peer.pexpire(name, 299_000)
        assert (await worker.ask()).headers["cache-status"].endswith("stored")
        assert await peer.pttl(name) > 3590_000
        for other in [name async for name in peer.scan_iter()]:
            assert await peer.pttl(other) > 0, other
        await peer.aclose()


async def test_without_the_redis_client_the_start_stops_with_the_command_that_installs_it(
    kombo: httpx.AsyncBaseTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    for name in ("redis", "redis_line", "failover"):
        monkeypatch.delitem(sys.modules, f"kombo_embed.links.{name}", raising=False)
        monkeypatch.delattr(f"kombo_embed.links.{name}", raising=False)
    _, embed = make_host(kombo, redis_url="redis://localhost")
    with pytest.raises(ConfigurationError, match="with its extra 'redis'"):
        await embed.open()
    await embed.close()


async def test_a_part_of_the_url_that_cannot_be_used_stops_the_start(
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
    assert "redis.gone: AuthenticationError" in text
    for secret in (link, "ada@acme.example", "pass-word"):
        assert secret not in text


@pytest.mark.parametrize(("url", "warned"), [("redis://127.0.0.1:1", 0), ("redis://redis.invalid:1", 1)])
async def test_links_that_lie_open_on_another_machine_are_warned_about_once(
    url: str, warned: int, kombo: httpx.AsyncBaseTransport, caplog: pytest.LogCaptureFixture
) -> None:
    async with workers(1, kombo, redis_url=url) as (worker,):
        await worker.link()
    assert sum("KOMBO_LINK_ENCRYPTION_KEYS is not set" in line for line in caplog.messages) == warned
