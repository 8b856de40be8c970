"""Which recipients of a token are accepted: its audience, and the client that it was issued to."""

from __future__ import annotations

from typing import Any

import pytest

from kombo_embed.sandbox import Sandbox
from tests.auth.issuer import bearer_world
from tests.auth.tokens import claims, make_token, rsa_key

KEY = rsa_key()
API, APP = "https://api.example.com", "https://app.example.com"
LOOKALIKES = [
    "https://app.example.com/",
    "https://app.example.com ",
    " https://app.example.com",
    "HTTPS://APP.EXAMPLE.COM",
    "https://app.example.com\u0000",
    "https://\u0430pp.example.com",  # a Cyrillic letter
    "https://app.example\uff0ecom",  # a full-width dot
    "https://app.example.co",
    "https://app.example.com,https://other.example.com",
    "",
]
NOT_A_NAME: list[Any] = [None, [], [APP], {APP: 1}, 1, True, False, 0, 1.5]


def token(**changes: Any) -> str:
    body = {**claims(), **changes}
    return make_token(KEY, body={name: value for name, value in body.items() if value is not ...})


async def status(sandbox: Sandbox, settings: dict[str, str], **changes: Any) -> int:
    async with bearer_world(sandbox, **{"oidc_audience": (), **settings}) as world:
        return (await world.ask(token(**changes))).status_code


@pytest.mark.parametrize(
    "accepted", [{"azp": APP}, {"client_id": APP}, {"azp": APP, "client_id": "other"}, {"azp": "two"}]
)
async def test_a_token_without_an_audience_is_accepted_from_an_authorized_party(
    accepted: dict[str, str], sandbox: Sandbox
) -> None:
    settings = {"oidc_authorized_party": f"{APP}, two"}
    assert await status(sandbox, settings, aud=..., **accepted) == 200


async def test_every_other_party_is_refused(sandbox: Sandbox) -> None:
    refused: list[dict[str, Any]] = [{}, {"azp": "other", "client_id": APP}, {"appid": APP}, {"cid": APP}]
    refused += [{"azp": value, "client_id": APP} for value in NOT_A_NAME]
    refused += [{name: value} for name in ("azp", "client_id") for value in [*LOOKALIKES, *NOT_A_NAME]]
    async with bearer_world(sandbox, oidc_audience=(), oidc_authorized_party=APP) as world:
        for parties in refused:
            assert (await world.ask(token(aud=..., **parties))).status_code == 401, parties
        assert world.minted == 0


async def test_without_an_audience_setting_a_token_with_an_audience_is_refused(sandbox: Sandbox) -> None:
    audiences: list[Any] = [API, APP, [API], [APP], [], "", None, {}, 0]
    async with bearer_world(sandbox, oidc_audience=(), oidc_authorized_party=APP) as world:
        for audience in audiences:
            assert (await world.ask(token(aud=audience, azp=APP))).status_code == 401, audience
        assert world.minted == 0


@pytest.mark.parametrize("audience", [API, "two", [API], ["foreign", API, "another"], [API, "two"]])
async def test_any_of_several_audiences_is_accepted(audience: Any, sandbox: Sandbox) -> None:
    assert await status(sandbox, {"oidc_audience": f"two,{API}"}, aud=audience, azp="anyone") == 200


async def test_every_other_audience_is_refused(sandbox: Sandbox) -> None:
    refused: list[Any] = [..., f"two,{APP}", ["foreign"], [[APP]], [APP, 1], [APP, None], {APP: 1}]
    async with bearer_world(sandbox, oidc_audience=f"two,{APP}") as world:
        for audience in [*refused, *LOOKALIKES]:
            assert (await world.ask(token(aud=audience))).status_code == 401, audience
        assert world.minted == 0


@pytest.mark.parametrize(
    ("audience", "party", "expected"),
    [
        (API, APP, 200),
        ([API, "foreign"], APP, 200),
        (API, "other", 401),
        (API, ..., 401),
        ("other", APP, 401),
        (..., APP, 401),
        (APP, API, 401),
    ],
)
async def test_with_both_settings_both_must_match(
    audience: Any, party: Any, expected: int, sandbox: Sandbox
) -> None:
    both = {"oidc_audience": API, "oidc_authorized_party": APP}
    assert await status(sandbox, both, aud=audience, azp=party) == expected


async def test_the_log_has_the_reason(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="kombo_embed.auth")
    reasons: dict[str, dict[str, Any]] = {
        "wrong_audience": {"azp": APP},
        "wrong_authorized_party": {"aud": ..., "azp": "other"},
    }
    async with bearer_world(sandbox, oidc_audience=(), oidc_authorized_party=APP) as world:
        for reason, changes in reasons.items():
            caplog.clear()
            await world.ask(token(**changes))
            [record] = [record for record in caplog.records if record.message == "bearer.rejected"]
            assert vars(record)["reason"] == reason


HTTP_ISSUER = {"oidc_issuer": "http://localhost:8080", "jwks_url": "http://127.0.0.1/keys"}


@pytest.mark.parametrize(
    ("settings", "warnings"),
    [
        ({}, []),
        (
            {"oidc_audience": (), "oidc_authorized_party": APP},
            [("bearer.no_audience", "KOMBO_OIDC_AUDIENCE")],
        ),
        (
            HTTP_ISSUER,
            [
                ("bearer.keys_unencrypted", "KOMBO_OIDC_ISSUER"),
                ("bearer.keys_unencrypted", "KOMBO_JWKS_URL"),
            ],
        ),
    ],
)
async def test_the_start_warns_once_of_what_is_not_verified(
    settings: dict[str, Any],
    warnings: list[tuple[str, str]],
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with bearer_world(sandbox, **settings) as world:
        await world.ask("token")
        await world.ask("token")
    found = [vars(record) for record in caplog.records if record.message.startswith("bearer.")]
    assert [(record["message"], record["variable"]) for record in found] == warnings
    assert {record["levelname"] for record in found} <= {"WARNING"}
