"""A token that was verified a moment ago is believed again, and never for longer than a new one would be."""

from __future__ import annotations

import pytest
from joserfc.jwk import JWKRegistry

from kombo_embed import EndUser
from kombo_embed.auth import believed
from kombo_embed.auth.believed import BelievedTokens
from kombo_embed.sandbox import Sandbox
from tests.auth.issuer import bearer_world
from tests.auth.tokens import claims, ec_key, make_token

ADA = EndUser("ada@acme.example", "Acme", "acme")
OLD = ec_key("old")
KEYS = (JWKRegistry.import_key(OLD.jwk()),)
SAME_KEYS_READ_ANEW = (JWKRegistry.import_key(OLD.jwk()),)


def test_it_is_believed_from_when_it_was_verified_until_its_end_with_the_very_same_keys() -> None:
    tokens = BelievedTokens()
    tokens.keep(b"Bearer a", ADA, keys=KEYS, since=10, until=20)
    for now, expected in ((9.9, None), (10, ADA), (19.9, ADA), (20, None)):
        assert tokens.find(b"Bearer a", keys=KEYS, now=now) == expected
    assert tokens.find(b"Bearer b", keys=KEYS, now=10) is None
    assert tokens.find(b"Bearer a", keys=None, now=10) is None
    assert tokens.find(b"Bearer a", keys=SAME_KEYS_READ_ANEW, now=10) is None


def test_what_was_verified_with_other_keys_is_forgotten() -> None:
    tokens = BelievedTokens()
    tokens.keep(b"Bearer a", ADA, keys=KEYS, since=10, until=20)
    tokens.keep(b"Bearer b", ADA, keys=SAME_KEYS_READ_ANEW, since=10, until=20)
    assert tokens.find(b"Bearer a", keys=SAME_KEYS_READ_ANEW, now=10) is None
    assert tokens.find(b"Bearer b", keys=SAME_KEYS_READ_ANEW, now=10) == ADA


def test_of_too_many_the_oldest_goes_and_no_token_is_kept_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(believed, "BELIEVED_MAX", 2)
    tokens = BelievedTokens()
    for name in (b"Bearer a", b"Bearer b", b"Bearer c"):
        tokens.keep(name, ADA, keys=KEYS, since=10, until=20)
    assert tokens.find(b"Bearer a", keys=KEYS, now=10) is None
    assert tokens.find(b"Bearer b", keys=KEYS, now=10) == tokens.find(b"Bearer c", keys=KEYS, now=10) == ADA
    assert b"Bearer" not in repr(vars(tokens)).encode()


async def test_beside_a_token_that_is_believed_none_that_differs_from_it_is(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.publish(OLD)
        good = make_token(OLD)
        assert (await world.ask(good)).status_code == 200
        forged = make_token(OLD, body=claims(organization_id="other")).rpartition(".")[0]
        for token in (good[:-1], good + "A", good[:-2] + "AA", f"{forged}.{good.rpartition('.')[2]}"):
            assert (await world.ask(token)).status_code == 401
        assert (await world.ask(good, good)).status_code == 401
        assert (await world.ask(good)).status_code == 200
