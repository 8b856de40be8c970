from __future__ import annotations

import json
from typing import Any

import pytest

from kombo_embed.auth.key_set import read_key_set
from tests.auth.tokens import b64, ec_key, ed_key, rsa_key

GOOD = ec_key()
HUGE = b64(b"\xff" * 2056)  # 16,448 bits


def key_ids(*members: Any) -> list[str | None]:
    return [key.kid for key in read_key_set(json.dumps({"keys": members}).encode())]


def test_keys_of_all_kinds_are_read_in_order() -> None:
    assert key_ids(rsa_key().jwk(), GOOD.jwk(), ed_key().jwk()) == ["rsa-1", "ec-1", "ed-1"]


# Where a host does not turn warnings into errors, a short key would pass with one.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "member",
    [
        rsa_key("weak", bits=1024).jwk(),
        rsa_key().jwk(n=HUGE),
        rsa_key().jwk(n=""),
        {"kty": "oct", "k": b64(b"shared")},
        {"kty": "RSA"},
        {"kty": "AKP", "pub": "x"},
        {"kty": ["RSA"]},
        {},
        [],
        None,
        7,
        "key",
        GOOD.jwk(kid=7),
        GOOD.jwk(crv="P-999"),
        GOOD.jwk(x=b64(bytes(32))),
        GOOD.jwk(use=["sig"], key_ops=["verify"]),
        GOOD.jwk(key_ops="verify"),
        ed_key().jwk(x="AA"),
    ],
    ids=str,
)
def test_a_key_of_no_use_is_left_out_and_does_not_spoil_the_others(member: Any) -> None:
    assert key_ids(member, GOOD.jwk()) == ["ec-1"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"{}", b'{"keys": {}}', b"\xff", b"[" * 100_000])
def test_what_is_no_key_set_is_told(body: bytes) -> None:
    with pytest.raises(ValueError, match="no JSON Web Key Set"):
        read_key_set(body)
