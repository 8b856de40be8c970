"""Token verification, with ten thousand mutated tokens; ``MUTATION_EXAMPLES=1000`` tries 100,000."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kombo_embed.auth.jwk import parse_key_set
from kombo_embed.auth.jwt import TOKEN_MAX_LENGTH, TokenRefused, TokenVerifier
from kombo_embed.sandbox import Sandbox
from tests.auth.issuer import bearer_world
from tests.auth.tokens import AUDIENCE, ISSUER, b64, claims, ec_key, ed_key, header, make_token, rsa_key
from tests.support import ManualClock

EXAMPLES = int(os.environ.get("MUTATION_EXAMPLES", "100"))
PER_EXAMPLE = 100  # of 125 mutations a few change nothing
KEYS = (rsa_key(), ec_key(), ed_key())
TOKENS = [make_token(key) for key in KEYS]
PUBLISHED = parse_key_set(json.dumps({"keys": [key.jwk() for key in KEYS]}).encode()).keys
VERIFIER = TokenVerifier(
    issuer=ISSUER, audiences=(AUDIENCE,), algorithms=("RS256", "ES256", "EdDSA"), clock=ManualClock()
)
ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ {}"\\\x00\u00e9'


def _replace(token: str, at: int, value: int) -> str:
    return token[:at] + ALPHABET[value % len(ALPHABET)] + token[at + 1 :]


def _insert(token: str, at: int, value: int) -> str:
    return token[:at] + ALPHABET[value % len(ALPHABET)] + token[at:]


def _delete(token: str, at: int, value: int) -> str:
    return token[:at] + token[at + 1 + value % 4 :]


def _swap(token: str, at: int, value: int) -> str:
    other = value % len(token)
    letters = list(token)
    letters[at], letters[other] = letters[other], letters[at]
    return "".join(letters)


def _flip_a_bit(token: str, at: int, value: int) -> str:
    """Flip a bit of a decoded part, so that the token stays well-formed."""
    parts = [bytearray(_decode(part)) for part in token.split(".")]
    part = parts[at % 3]
    part[value % len(part)] ^= 1 << (at % 8)
    return ".".join(b64(bytes(part)) for part in parts)


def _exchange_a_part(token: str, at: int, value: int) -> str:
    parts, others = token.split("."), TOKENS[value % len(TOKENS)].split(".")
    parts[at % 3] = others[value % 3]
    return ".".join(parts)


def _repeat(token: str, at: int, value: int) -> str:
    return token[:at] + token[at : at + 1 + value % 400] * 2 + token[at:]


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


KINDS: list[Callable[[str, int, int], str]] = [
    _replace,
    _insert,
    _delete,
    _swap,
    _flip_a_bit,
    _exchange_a_part,
    _repeat,
]


def mutated(token: str, mutation: bytes) -> str:
    """Return the token, mutated as six bytes encode: how, where, and with what."""
    place = int.from_bytes(mutation[1:3], "big") * len(token) >> 16
    return KINDS[mutation[0] % len(KINDS)](token, place, int.from_bytes(mutation[3:], "big"))


def verified(token: str) -> dict[str, Any]:
    return VERIFIER.verify(VERIFIER.parse(token), PUBLISHED)


@pytest.mark.parametrize("depth", range(100, 1500, 20))
def test_no_depth_of_nesting_causes_an_error(depth: int) -> None:
    nested = "[" * depth + "]" * depth
    head = json.dumps(header(KEYS[1]))[:-1] + f', "x": {nested}}}'
    body = json.dumps(claims())[:-1] + f', "x": {nested}}}'
    for token in (make_token(KEYS[1], head=head), make_token(KEYS[1], body=body)):
        with contextlib.suppress(TokenRefused):
            assert verified(token)["sub"] == "ada"


def test_a_token_that_is_too_long_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(TokenRefused) as caught:
        VERIFIER.parse("x" * (TOKEN_MAX_LENGTH + 1))
    assert caught.value.reason == "too_long"


def test_keys_that_do_not_fit_or_did_not_sign_are_skipped() -> None:
    token = make_token(KEYS[1], head=header(KEYS[1], kid=None))
    another = parse_key_set(json.dumps({"keys": [ec_key("another").jwk()]}).encode()).keys
    assert VERIFIER.verify(VERIFIER.parse(token), (*another, *PUBLISHED))["sub"] == "ada"
    for keys, reason in ((another, "wrong_signature"), (PUBLISHED[::2], "unknown_key"), ((), "unknown_key")):
        with pytest.raises(TokenRefused) as caught:
            VERIFIER.verify(VERIFIER.parse(token), keys)
        assert caught.value.reason == reason


def test_no_mutated_token_is_accepted(record_property: Callable[[str, object], None]) -> None:
    for token in TOKENS:
        assert verified(token)["sub"] == "ada"
    tried = 0

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(mutations=st.binary(min_size=6 * 125, max_size=6 * 125), token=st.sampled_from(TOKENS))
    def try_many(mutations: bytes, token: str) -> None:
        nonlocal tried
        for at in range(0, len(mutations), 6):
            changed = mutated(token, mutations[at : at + 6])
            if changed not in TOKENS:
                tried += 1
                with pytest.raises(TokenRefused):
                    verified(changed)

    try_many()
    assert tried >= EXAMPLES * PER_EXAMPLE
    record_property("figure", f"0 accepted of {tried:,} tokens")


async def test_no_mutated_token_gets_a_link_or_causes_an_error(sandbox: Sandbox) -> None:
    chance = random.Random(19)  # noqa: S311 - not for secrets
    async with bearer_world(sandbox) as world:
        assert (await world.ask(TOKENS[0])).status_code == 200
        for _ in range(500):
            token = chance.choice(TOKENS)
            changed = mutated(token, chance.randbytes(6)).replace("\x00", "0")
            if changed.strip() not in TOKENS:
                assert (await world.ask(changed)).status_code == 401
        assert world.minted == 1
        assert world.issuer.fetched <= 2
