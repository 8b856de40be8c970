"""How an issuer is called, and what happens while it does not respond as it should."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from kombo_embed import KomboEmbed
from kombo_embed.sandbox import Sandbox
from tests.auth.issuer import DISCOVERY, FAILURES, KEYS, FakeIssuer, bearer_world
from tests.auth.tokens import AUDIENCE, ISSUER, claims, ec_key, header, make_token, rsa_key
from tests.support import make_settings, served

OLD = ec_key("old")


def unknown(number: int) -> str:
    return make_token(OLD, head=header(OLD, kid=f"unknown-{number}"))


@pytest.mark.parametrize(
    ("failure", "failing"),
    [
        *((failure, KEYS) for failure in sorted(FAILURES)),
        *((failure, DISCOVERY) for failure in ("down", "redirects", "garbage", "list", "nested")),
        ("unreachable", DISCOVERY),
    ],
)
async def test_an_issuer_that_was_never_reached_is_a_503_and_called_seldom(
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
        assert caplog.messages.count("jwks.unavailable") == 1
        assert "login.example" not in answers[0].text
        world.issuer.failure = None
        world.clock.advance(1)
        assert (await world.ask(make_token(rsa_key()))).status_code == 200
        assert world.issuer.calls["/redirected"] == 0
        assert world.minted == 1


async def test_a_fetch_ends_at_the_deadline(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox, timeout=0.05, connect_timeout=0.05) as world:
        world.network.hold()
        answer = await world.ask(make_token(rsa_key()))
        assert (answer.status_code, answer.json()["code"]) == (503, "identity_unavailable")


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
async def test_a_discovery_document_that_cannot_be_trusted_is_not_used(
    metadata: dict[str, Any], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")  # authlib's switch must not matter here
    async with bearer_world(sandbox) as world:
        world.issuer.metadata |= metadata
        assert (await world.ask(make_token(rsa_key()))).status_code == 503
        assert world.issuer.fetched == 0


async def test_a_discovery_document_without_rs256_is_accepted(sandbox: Sandbox) -> None:
    """Discovery 1.0 requires RS256 in the list; issuers of access tokens often violate it."""
    async with bearer_world(sandbox) as world:
        world.issuer.metadata |= {"id_token_signing_alg_values_supported": ["ES256"]}
        assert (await world.ask(make_token(ec_key()))).status_code == 200


async def test_with_a_jwks_url_nothing_is_discovered(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox, jwks_url=ISSUER + KEYS) as world:
        assert (await world.ask(make_token(rsa_key()))).status_code == 200
        assert dict(world.issuer.calls) == {KEYS: 1}


async def test_the_issuer_gets_no_cookie_and_no_credential(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        await world.ask(make_token(rsa_key()))
        await world.ask(unknown(0))
        assert len(world.issuer.requests) == 4
        for request in world.issuer.requests:
            assert not {"cookie", "authorization"} & set(request.headers)


async def test_discovery_works_over_a_real_socket() -> None:
    """On loopback, where http is allowed."""
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
            assert (answer.status_code, answer.json()["integrations"]) == (200, [])
            for bad in (good[:-1], good + "A" * 30_000, "\u00e9"):
                headers = {b"Authorization": f"Bearer {bad}".encode()}
                answer = await client.get("/kombo/integrations", headers=headers)
                assert answer.status_code == 401
                assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert issuer.calls[KEYS] == 1
