from __future__ import annotations

import json
from typing import Any

import pytest

from kombo_embed.auth.jwk_set import parse_key_set
from tests.auth.tokens import b64, ec_key, ed_key, rsa_key

GOOD = ec_key()
HUGE = b64(b"\xff" * 2056)  # 16,448 bits


def key_ids(*members: Any) -> list[str | None]:
    return [key.kid for key in parse_key_set(json.dumps({"keys": members}).encode())]


def test_keys_of_all_kinds_are_read_in_order() -> None:
    assert key_ids(rsa_key().jwk(), GOOD.jwk(), ed_key().jwk()) == ["rsa-1", "ec-1", "ed-1"]


# Told apart by name: the keys are made anew each time.
OF_NO_USE: dict[str, Any] = {
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


# Where a host does not turn warnings into errors, a short key would pass with one.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OF_NO_USE)
def test_a_key_of_no_use_is_left_out_and_does_not_spoil_the_others(name: str) -> None:
    assert key_ids(OF_NO_USE[name], GOOD.jwk()) == ["ec-1"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"{}", b'{"keys": {}}', b"\xff", b"[" * 100_000])
def test_what_is_no_key_set_is_told(body: bytes) -> None:
    with pytest.raises(ValueError, match="no JSON Web Key Set"):
        parse_key_set(body)
