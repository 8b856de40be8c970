"""When an issuer's keys are fetched, and what is logged about them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kombo_embed.sandbox import Sandbox
from tests.auth.issuer import DISCOVERY, KEYS, bearer_world
from tests.auth.tokens import TestKey, b64, claims, ec_key, header, make_token, rsa_key

OLD, NEW = ec_key("old"), ec_key("new")


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


def skipped(caplog: pytest.LogCaptureFixture) -> list[tuple[Any, str]]:
    records = [vars(record) for record in caplog.records if record.message == "jwks.key_skipped"]
    assert {record["levelname"] for record in records} <= {"WARNING"}
    return [(record["key_id"], record["reason"]) for record in records]


async def test_a_skipped_key_is_logged_once_with_its_reason_and_without_its_material(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async with bearer_world(sandbox) as world:
        secret = {"kty": "oct", "k": b64(b"shared"), "kid": "shared"}
        encrypting = ec_key("encrypting").jwk(use="enc")
        world.issuer.key_set = {"keys": [secret, OLD.jwk(), encrypting, {"kty": "RSA"}, "none"]}
        assert (await world.ask(make_token(OLD))).status_code == 200
        for _ in range(3):
            world.clock.advance(61)
            await world.ask(make_token(OLD))
            await asyncio.gather(*running_fetches())
        assert world.issuer.fetched == 4
        assert skipped(caplog) == [
            ("shared", "symmetric"),
            ("encrypting", "not_for_signatures"),
            (None, "missing_part"),
            (None, "not_an_object"),
        ]
        assert b64(b"shared") not in str([vars(record) for record in caplog.records])
        assert encrypting["x"] not in str([vars(record) for record in caplog.records])
        world.issuer.key_set["keys"][2] = ec_key("encrypting").jwk(crv="P-999")
        world.clock.advance(61)
        await world.ask(make_token(OLD))
        await asyncio.gather(*running_fetches())
        assert skipped(caplog)[4:] == [("encrypting", "unknown_curve")]


async def test_an_issuer_cannot_fill_the_log_or_the_memory_with_unusable_keys(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async with bearer_world(sandbox) as world:
        for start in range(0, 4000, 2000):
            world.issuer.key_set = {"keys": [{"kid": f"{'x' * 10}{start + n}"} for n in range(2000)]}
            world.issuer.key_set["keys"] = [{"kid": "y" * 500}, *world.issuer.key_set["keys"], OLD.jwk()]
            assert (await world.ask(make_token(OLD))).status_code == 200
            world.clock.advance(61)
            await world.ask(make_token(OLD))
            await asyncio.gather(*running_fetches())
        assert len(skipped(caplog)) == 1000
        assert max(len(str(key_id)) for key_id, _ in skipped(caplog)) == 128


async def test_a_set_without_a_usable_key_is_a_warning_once(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.publish()
        for _ in range(3):
            assert (await world.ask(make_token(OLD))).status_code == 401
            world.clock.advance(61)
            await asyncio.gather(*running_fetches())
        assert caplog.messages.count("jwks.no_usable_key") == 1
        world.issuer.publish(OLD)
        assert (await world.ask(make_token(OLD))).status_code == 200


async def test_keys_that_share_an_id_are_all_tried(sandbox: Sandbox) -> None:
    first, second, other = ec_key("first"), ec_key("second"), rsa_key("third")
    async with bearer_world(sandbox) as world:
        world.issuer.key_set = {"keys": [key.jwk(kid="same") for key in (first, second, other)]}
        for key in (first, second, other):
            assert (await world.ask(make_token(key, head=header(key, kid="same")))).status_code == 200
        eve = ec_key("eve")
        assert (await world.ask(make_token(eve, head=header(eve, kid="same")))).status_code == 401
