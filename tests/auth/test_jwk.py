"""Which keys of a published set can verify tokens, and what is said about the others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kombo_embed.auth.jwk import KeySet, parse_key_set
from kombo_embed.sandbox import Sandbox
from tests.auth.issuer import bearer_world
from tests.auth.tokens import TestKey, b64, ec_key, ed_key, make_token, rsa_key

GOOD = ec_key()
HUGE = b64(b"\xff" * 2056)  # 16,448 bits


def parse(*members: Any) -> KeySet:
    return parse_key_set(json.dumps({"keys": members}).encode())


def key_ids(*members: Any) -> list[str | None]:
    return [key.kid for key in parse(*members).keys]


def padded(key: TestKey) -> dict[str, Any]:
    """Return a key whose numbers are padded, as some issuers write them."""
    jwk = key.jwk()
    return {name: value + "=" * (-len(value) % 4) if name in PARTS else value for name, value in jwk.items()}


def in_the_other_alphabet(key: TestKey) -> dict[str, Any]:
    table = str.maketrans("-_", "+/")
    return {name: value.translate(table) if name in PARTS else value for name, value in padded(key).items()}


PARTS = {"n", "e", "x", "y"}
KEYS = (rsa_key(), GOOD, ed_key())


def test_keys_of_all_kinds_are_parsed_in_order() -> None:
    assert key_ids(rsa_key().jwk(), GOOD.jwk(), ed_key().jwk()) == ["rsa-1", "ec-1", "ed-1"]


@pytest.mark.parametrize("write", [padded, in_the_other_alphabet])
async def test_keys_whose_numbers_are_padded_verify_tokens(write: Any, sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        world.issuer.key_set = {"keys": [write(key) for key in KEYS]}
        for key in KEYS:
            assert (await world.ask(make_token(key))).status_code == 200


def test_members_that_are_not_needed_do_not_make_a_key_unusable() -> None:
    others = {"use": None, "alg": None, "key_ops": None, "x5c": "MII=", "x5t": 7, "nbf": "soon", "exp": None}
    assert key_ids(GOOD.jwk(**others)) == ["ec-1"]
    assert key_ids(GOOD.jwk(kid=None), GOOD.jwk(key_ops=["verify", "sign"])) == [None, "ec-1"]


# Parametrized by name, because the keys differ in each process.
UNUSABLE: dict[str, tuple[Any, str]] = {
    "RSA of 1024 bits": (rsa_key("weak", bits=1024).jwk(), "wrong_size"),
    "RSA of 16448 bits": (rsa_key().jwk(n=HUGE), "wrong_size"),
    "RSA with an empty modulus": (rsa_key().jwk(n=""), "wrong_size"),
    "RSA with nothing in it": ({"kty": "RSA"}, "missing_part"),
    "RSA with a number in place of text": (rsa_key().jwk(e=65537), "missing_part"),
    "RSA with an exponent of 1": (rsa_key().jwk(e="AQ"), "malformed"),
    "RSA in no base64": (rsa_key().jwk(n="!" * 342), "malformed"),
    "EC without y": (GOOD.jwk(y=None), "missing_part"),
    "EC without a curve": (GOOD.jwk(crv=None), "missing_part"),
    "a shared secret": ({"kty": "oct", "k": b64(b"shared")}, "symmetric"),
    "a private key": (GOOD.jwk(d="AAAA"), "private"),
    "a private RSA key": (rsa_key().jwk(p="AAAA", q="AAAA"), "private"),
    "a kind that is not known": ({"kty": "AKP", "pub": "x"}, "unknown_type"),
    "a kind in small letters": (rsa_key().jwk(kty="rsa"), "unknown_type"),
    "a kind that is a list": ({"kty": ["RSA"]}, "unknown_type"),
    "an empty object": ({}, "unknown_type"),
    "a list": ([], "not_an_object"),
    "null": (None, "not_an_object"),
    "a number": (7, "not_an_object"),
    "a string": ("key", "not_an_object"),
    "a key id that is a number": (GOOD.jwk(kid=7), "malformed"),
    "a curve that is not known": (GOOD.jwk(crv="P-999"), "unknown_curve"),
    "a curve that no setting allows": (GOOD.jwk(crv="secp256k1"), "unknown_curve"),
    "a curve for key agreement": (ed_key().jwk(crv="X25519"), "unknown_curve"),
    "a point beside the curve": (GOOD.jwk(x=b64(bytes(32))), "malformed"),
    "a key for encryption": (GOOD.jwk(use="enc"), "not_for_signatures"),
    "a use that is not known": (GOOD.jwk(use="signature"), "not_for_signatures"),
    "a use that is a list": (GOOD.jwk(use=["sig"], key_ops=["verify"]), "not_for_signatures"),
    "a key for signing only": (GOOD.jwk(use=None, key_ops=["sign"]), "not_for_signatures"),
    "operations that are a string": (GOOD.jwk(key_ops="verify"), "not_for_signatures"),
    "an algorithm for encryption": (rsa_key().jwk(use=None, alg="RSA-OAEP"), "wrong_algorithm"),
    "an algorithm of another kind": (GOOD.jwk(alg="RS256"), "wrong_algorithm"),
    "an algorithm that is a list": (GOOD.jwk(alg=["ES256"]), "malformed"),
    "Ed25519 that is too short": (ed_key().jwk(x="AA"), "malformed"),
}


# A host may not turn warnings into errors; then joserfc accepts a short key with a warning.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_key_is_left_out_with_a_reason_and_does_not_affect_the_others(name: str) -> None:
    member, reason = UNUSABLE[name]
    key_set = parse(member, GOOD.jwk())
    assert [key.kid for key in key_set.keys] == ["ec-1"]
    [skipped] = key_set.skipped
    known = member.get("kid") if isinstance(member, dict) else None
    assert (skipped.key_id, skipped.reason) == (known if isinstance(known, str) else None, reason)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"{}", b'{"keys": {}}', b"\xff", b"[" * 100_000])
def test_a_body_that_is_not_a_key_set_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a JSON Web Key Set"):
        parse_key_set(body)
