"""When an issuer's keys are fetched, and which of them are used."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from kombo_embed.auth.jwk import parse_key_set
from kombo_embed.sandbox import Sandbox
from tests.auth.issuer import DISCOVERY, KEYS, bearer_world
from tests.auth.tokens import TestKey, b64, claims, ec_key, ed_key, header, make_token, rsa_key

OLD, NEW = ec_key("old"), ec_key("new")
GOOD = ec_key()
HUGE = b64(b"\xff" * 2056)  # 16,448 bits


def key_ids(*members: Any) -> list[str | None]:
    return [key.kid for key in parse_key_set(json.dumps({"keys": members}).encode()).keys]


def test_keys_of_all_kinds_are_parsed_in_order() -> None:
    assert key_ids(rsa_key().jwk(), GOOD.jwk(), ed_key().jwk()) == ["rsa-1", "ec-1", "ed-1"]


# Parametrized by name, because the keys differ in each process.
UNUSABLE: dict[str, Any] = {
    "RSA of 1024 bits": rsa_key("weak", bits=1024).jwk(),
    "RSA of 16448 bits": rsa_key().jwk(n=HUGE),
    "RSA with an empty modulus": rsa_key().jwk(n=""),
    "a shared secret": {"kty": "oct", "k": b64(b"shared")},
    "RSA with nothing in it": {"kty": "RSA"},
    "a kind that is not known": {"kty": "AKP", "pub": "x"},
    "a kind that is a list": {"kty": ["RSA"]},
    "an empty object": {},
    "a list": [],
    "null": None,
    "a number": 7,
    "a string": "key",
    "a key id that is a number": GOOD.jwk(kid=7),
    "a curve that is not known": GOOD.jwk(crv="P-999"),
    "a point beside the curve": GOOD.jwk(x=b64(bytes(32))),
    "a use that is a list": GOOD.jwk(use=["sig"], key_ops=["verify"]),
    "operations that are a string": GOOD.jwk(key_ops="verify"),
    "Ed25519 that is too short": ed_key().jwk(x="AA"),
}


# A host may not turn warnings into errors; then joserfc accepts a short key with a warning.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_key_is_left_out_and_does_not_affect_the_others(name: str) -> None:
    assert key_ids(UNUSABLE[name], GOOD.jwk()) == ["ec-1"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"{}", b'{"keys": {}}', b"\xff", b"[" * 100_000])
def test_a_body_that_is_not_a_key_set_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a JSON Web Key Set"):
        parse_key_set(body)


def unknown(number: int) -> str:
    return make_token(OLD, head=header(OLD, kid=f"unknown-{number}"))


def running_fetches() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "kombo-embed jwks"]


async def test_nothing_is_fetched_at_the_start_and_the_first_tokens_share_one_fetch(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.publish(OLD)
        assert not world.issuer.calls
        answers = await asyncio.gather(*(world.ask(make_token(OLD)) for _ in range(50)))
        assert {answer.status_code for answer in answers} == {200}
        assert dict(world.issuer.calls) == {DISCOVERY: 1, KEYS: 1}


async def test_a_rotated_key_works_at_once(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.publish(OLD)
        assert (await world.ask(make_token(OLD))).status_code == 200
        world.issuer.publish(NEW)
        answers = await asyncio.gather(*(world.ask(make_token(NEW)) for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200}
        assert (await world.ask(make_token(OLD))).status_code == 401
        assert world.issuer.fetched == 2


async def test_a_thousand_concurrent_unknown_key_ids_cause_one_fetch(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.publish(OLD)
        assert (await world.ask(make_token(OLD))).status_code == 200
        answers = await asyncio.gather(*(world.ask(unknown(number)) for number in range(1000)))
        assert {answer.status_code for answer in answers} == {401}
        assert world.issuer.fetched == 2
        assert (await world.ask(make_token(OLD))).status_code == 200


async def test_unknown_key_ids_cause_a_fetch_at_most_every_30_seconds(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.publish(OLD)
        await world.ask(make_token(OLD))
        fetched = []
        for seconds in (0, 0, 1, 28.9, 0.1, 0, 29.9, 0.1):
            world.clock.advance(seconds)
            assert (await world.ask(unknown(0))).status_code == 401
            fetched.append(world.issuer.fetched)
        assert fetched == [2, 2, 2, 2, 3, 3, 3, 4]


async def test_the_pause_is_measured_on_the_monotonic_clock(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.publish(OLD)
        await world.ask(make_token(OLD))
        await world.ask(unknown(0))
        world.clock.now += 1_000
        await world.ask(unknown(1))
        assert world.issuer.fetched == 2


async def test_a_key_that_is_new_during_the_pause_works_after_it(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.publish(OLD)
        await world.ask(make_token(OLD))
        await world.ask(unknown(0))
        world.issuer.publish(OLD, NEW)
        assert (await world.ask(make_token(NEW))).status_code == 401
        world.clock.advance(30)
        assert (await world.ask(make_token(NEW))).status_code == 200


async def test_without_key_ids_a_rotated_key_works_at_once_and_bad_signatures_cause_few_fetches(
    sandbox: Sandbox,
) -> None:
    def without_id(key: TestKey) -> str:
        return make_token(key, head=header(key, kid=None))

    async with bearer_world(sandbox) as world:
        world.issuer.publish(OLD)
        assert (await world.ask(without_id(OLD))).status_code == 200
        world.issuer.publish(NEW)
        assert (await world.ask(without_id(NEW))).status_code == 200
        assert (await world.ask(without_id(OLD))).status_code == 401
        assert world.issuer.fetched == 2
        for _ in range(20):
            assert (await world.ask(without_id(OLD))).status_code == 401
        assert world.issuer.fetched == 2
        world.clock.advance(30)
        assert (await world.ask(without_id(OLD))).status_code == 401
        assert world.issuer.fetched == 3


async def test_a_withdrawn_key_is_refused_after_a_minute_and_the_refresh_delays_no_request(
    sandbox: Sandbox,
) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.publish(OLD)
        token = make_token(OLD, body=claims(exp=int(world.clock.time()) + 10_000))
        assert (await world.ask(token)).status_code == 200
        world.issuer.publish(NEW)
        world.clock.advance(59)
        assert (await world.ask(token)).status_code == 200
        world.clock.advance(1)
        world.network.hold()
        assert (await world.ask(token)).status_code == 200  # the old keys are used meanwhile
        world.network.release()
        await asyncio.gather(*running_fetches())
        assert (await world.ask(token)).status_code == 401
        assert world.issuer.fetched == 3  # its key id is unknown now


@pytest.mark.parametrize("failure", ["unreachable", "down", "redirects", "garbage", "no keys"])
async def test_known_keys_keep_working_while_the_issuer_is_down(failure: str, sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.publish(OLD)
        token = make_token(OLD, body=claims(exp=int(world.clock.time()) + 100_000))
        assert (await world.ask(token)).status_code == 200
        world.issuer.failure = failure
        for _ in range(5):
            world.clock.advance(3600)
            assert (await world.ask(token)).status_code == 200
            assert (await world.ask(unknown(0))).status_code == 401
        world.issuer.failure = None
        world.clock.advance(3600)
        assert (await world.ask(token)).status_code == 200


@pytest.mark.parametrize("known", [(), (OLD,)], ids=["no key is known", "another key is known"])
async def test_a_caller_that_disconnects_does_not_cancel_the_fetch_for_the_others(
    known: tuple[TestKey, ...], sandbox: Sandbox
) -> None:
    async with bearer_world(sandbox) as world:
        for key in known:
            world.issuer.publish(key)
            assert (await world.ask(make_token(key))).status_code == 200
        world.issuer.publish(NEW)
        world.network.hold()
        calls = world.issuer.calls[DISCOVERY] + 1
        first, second = (asyncio.create_task(world.ask(make_token(NEW))) for _ in range(2))
        await world.network.reached()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        world.network.release()
        assert (await second).status_code == 200
        assert world.issuer.calls[DISCOVERY] == calls


async def test_closing_cancels_a_running_fetch(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        assert (await world.ask(make_token(rsa_key()))).status_code == 200
        world.network.hold()
        world.clock.advance(600)
        assert (await world.ask(make_token(rsa_key()))).status_code == 200
        assert running_fetches()
    assert not running_fetches()


async def test_an_empty_key_set_is_accepted(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.publish()
        assert (await world.ask(make_token(rsa_key()))).status_code == 401
