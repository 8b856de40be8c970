"""When the issuer is asked for its keys, and what happens while it cannot be."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from kombo_embed import KomboEmbed
from kombo_embed.sandbox import Sandbox
from tests.auth.issuer import DISCOVERY, FAILURES, KEYS, FakeIssuer, bearer_world
from tests.auth.tokens import AUDIENCE, ISSUER, TestKey, claims, ec_key, header, make_token, rsa_key
from tests.support import eventually, make_settings, served

OLD, NEW = ec_key("old"), ec_key("new")


def strange(number: int) -> str:
    return make_token(OLD, head=header(OLD, kid=f"strange-{number}"))


def calls_under_way() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "kombo-embed keys"]


async def test_the_start_calls_nobody_and_the_first_tokens_share_one_call(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.publish(OLD)
        assert not world.issuer.calls
        answers = await asyncio.gather(*(world.ask(make_token(OLD)) for _ in range(50)))
        assert {answer.status_code for answer in answers} == {200}
        assert dict(world.issuer.calls) == {DISCOVERY: 1, KEYS: 1}


async def test_a_rotated_key_works_at_once_without_a_restart(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.publish(OLD)
        assert (await world.ask(make_token(OLD))).status_code == 200
        world.issuer.publish(NEW)
        answers = await asyncio.gather(*(world.ask(make_token(NEW)) for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200}
        assert (await world.ask(make_token(OLD))).status_code == 401
        assert world.issuer.fetched == 2


async def test_a_thousand_strange_key_ids_at_once_make_one_call(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.publish(OLD)
        assert (await world.ask(make_token(OLD))).status_code == 200
        answers = await asyncio.gather(*(world.ask(strange(number)) for number in range(1000)))
        assert {answer.status_code for answer in answers} == {401}
        assert world.issuer.fetched == 2
        assert (await world.ask(make_token(OLD))).status_code == 200


async def test_strange_key_ids_make_a_call_at_most_every_30_seconds(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.publish(OLD)
        await world.ask(make_token(OLD))
        fetched = []
        for seconds in (0, 0, 1, 28.9, 0.1, 0, 29.9, 0.1):
            world.clock.advance(seconds)
            assert (await world.ask(strange(0))).status_code == 401
            fetched.append(world.issuer.fetched)
        assert fetched == [2, 2, 2, 2, 3, 3, 3, 4]


async def test_the_pause_counts_on_the_clock_that_is_never_set_back(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.publish(OLD)
        await world.ask(make_token(OLD))
        await world.ask(strange(0))
        world.clock.now += 1_000
        await world.ask(strange(1))
        assert world.issuer.fetched == 2


async def test_a_new_key_during_the_pause_works_when_it_is_over(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.publish(OLD)
        await world.ask(make_token(OLD))
        await world.ask(strange(0))
        world.issuer.publish(OLD, NEW)
        assert (await world.ask(make_token(NEW))).status_code == 401
        world.clock.advance(30)
        assert (await world.ask(make_token(NEW))).status_code == 200


async def test_without_key_ids_a_rotated_key_works_at_once_and_bad_signatures_make_few_calls(
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


async def test_a_withdrawn_key_goes_away_within_a_minute_and_nobody_waits_for_it(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.publish(OLD)
        token = make_token(OLD, body=claims(exp=int(world.clock.time()) + 10_000))
        assert (await world.ask(token)).status_code == 200
        world.issuer.publish(NEW)
        world.clock.advance(59)
        assert (await world.ask(token)).status_code == 200
        world.clock.advance(1)
        world.issuer.failure = "hangs"
        assert (await world.ask(token)).status_code == 200  # the old ones serve while it is asked
        world.issuer.let_go.set()
        await asyncio.gather(*calls_under_way())
        assert (await world.ask(token)).status_code == 401
        assert world.issuer.fetched == 3  # its key id is a stranger's now


@pytest.mark.parametrize(
    ("failure", "failing"),
    [
        *((failure, KEYS) for failure in sorted(FAILURES)),
        *((failure, DISCOVERY) for failure in ("down", "redirects", "garbage", "list", "nested")),
        ("unreachable", DISCOVERY),
    ],
)
async def test_an_issuer_that_was_never_reached_is_a_503_and_asked_seldom(
    failure: str, failing: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.failure, world.issuer.failing = failure, (failing,)
        answers = await asyncio.gather(*(world.ask(make_token(rsa_key())) for _ in range(20)))
        assert {answer.status_code for answer in answers} == {503}
        assert {answer.json()["code"] for answer in answers} == {"identity_unavailable"}
        assert {answer.headers["Retry-After"] for answer in answers} == {"5"}
        world.clock.advance(4)
        assert (await world.ask(make_token(rsa_key()))).headers["Retry-After"] == "1"
        assert world.issuer.calls[DISCOVERY] == 1
        warnings = [line for line in caplog.messages if line.startswith("keys.unavailable: ")]
        assert len(warnings) == 1
        assert "login.example" not in answers[0].text
        world.issuer.failure = None
        world.clock.advance(1)
        assert (await world.ask(make_token(rsa_key()))).status_code == 200
        assert world.issuer.calls["/elsewhere"] == 0
        assert world.minted == 1


@pytest.mark.parametrize("failure", ["unreachable", "down", "redirects", "garbage", "no keys"])
async def test_known_keys_go_on_working_while_the_issuer_is_down(failure: str, sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.publish(OLD)
        token = make_token(OLD, body=claims(exp=int(world.clock.time()) + 100_000))
        assert (await world.ask(token)).status_code == 200
        world.issuer.failure = failure
        for _ in range(5):
            world.clock.advance(3600)
            assert (await world.ask(token)).status_code == 200
            assert (await world.ask(strange(0))).status_code == 401
        world.issuer.failure = None
        world.clock.advance(3600)
        assert (await world.ask(token)).status_code == 200


async def test_an_issuer_that_hangs_ends_at_the_deadline(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox, timeout=0.05, connect_timeout=0.05) as world:
        world.issuer.failure = "hangs"
        answer = await world.ask(make_token(rsa_key()))
        assert (answer.status_code, answer.json()["code"]) == (503, "identity_unavailable")


@pytest.mark.parametrize("known", [(), (OLD,)], ids=["no key is known", "another key is known"])
async def test_a_caller_that_leaves_does_not_cancel_the_call_for_the_others(
    known: tuple[TestKey, ...], sandbox: Sandbox
) -> None:
    async with bearer_world(sandbox) as world:
        for key in known:
            world.issuer.publish(key)
            assert (await world.ask(make_token(key))).status_code == 200
        world.issuer.publish(NEW)
        world.issuer.failure = "hangs"
        calls = world.issuer.calls[DISCOVERY] + 1
        first, second = (asyncio.create_task(world.ask(make_token(NEW))) for _ in range(2))
        await eventually(lambda: world.issuer.calls[DISCOVERY] == calls)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        world.issuer.let_go.set()
        assert (await second).status_code == 200
        assert world.issuer.calls[DISCOVERY] == calls


async def test_the_stop_ends_a_call_that_is_under_way(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        assert (await world.ask(make_token(rsa_key()))).status_code == 200
        world.issuer.failure = "hangs"
        world.clock.advance(600)
        assert (await world.ask(make_token(rsa_key()))).status_code == 200
        assert calls_under_way()
    assert not calls_under_way()


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"issuer": ISSUER + "/"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": 7},
        {"jwks_uri": "http://login.example/keys"},
        {"jwks_uri": "ftp://login.example/keys"},
        {"jwks_uri": "https://user:password@login.example/keys"},
        {"jwks_uri": "//login.example/keys"},
        {"jwks_uri": ""},
        {"jwks_uri": "https://[/keys"},
    ],
)
async def test_a_discovery_document_that_cannot_be_trusted_is_not_followed(
    metadata: dict[str, Any], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")  # it must not open a door here
    async with bearer_world(sandbox) as world:
        world.issuer.metadata |= metadata
        assert (await world.ask(make_token(rsa_key()))).status_code == 503
        assert world.issuer.fetched == 0


async def test_an_issuer_that_signs_with_its_own_choice_of_algorithms_is_believed(sandbox: Sandbox) -> None:
    """Discovery 1.0 wants RS256 in every list; issuers of access tokens often have none of these members."""
    async with bearer_world(sandbox) as world:
        world.issuer.metadata |= {"id_token_signing_alg_values_supported": ["ES256"]}
        assert (await world.ask(make_token(ec_key()))).status_code == 200


async def test_with_a_url_for_the_keys_nothing_is_discovered(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox, jwks_url=ISSUER + KEYS) as world:
        assert (await world.ask(make_token(rsa_key()))).status_code == 200
        assert dict(world.issuer.calls) == {KEYS: 1}


async def test_the_issuer_is_sent_no_cookie_and_no_credential(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        await world.ask(make_token(rsa_key()))
        await world.ask(strange(0))
        assert len(world.issuer.requests) == 4
        for request in world.issuer.requests:
            assert not {"cookie", "authorization"} & set(request.headers)


async def test_an_issuer_that_withdraws_every_key_is_believed(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.publish()
        assert (await world.ask(make_token(rsa_key()))).status_code == 401


async def test_over_a_real_socket() -> None:
    """An issuer, its host and a client as in production: on loopback, where http is allowed."""
    issuer = FakeIssuer(OLD)
    async with served(issuer.app) as base:
        issuer.metadata |= {"issuer": base, "jwks_uri": base + KEYS}
        settings = make_settings(auth="bearer", oidc_issuer=base, oidc_audience=AUDIENCE)
        embed = KomboEmbed(settings=settings)
        app = Starlette()
        embed.install(app)
        async with served(app) as host, httpx.AsyncClient(base_url=host) as client:
            good = make_token(OLD, body=claims(iss=base, iat=None, exp=4_000_000_000))
            answer = await client.get("/kombo/integrations", headers={"Authorization": f"Bearer {good}"})
            assert (answer.status_code, answer.json()) == (200, {"integrations": []})
            for bad in (good[:-1], good + "A" * 30_000, "\u00e9"):
                headers = {b"Authorization": f"Bearer {bad}".encode()}
                answer = await client.get("/kombo/integrations", headers=headers)
                assert answer.status_code == 401
                assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert issuer.calls[KEYS] == 1
