"""No two end users, and no two requests, share a link: neither in memory nor by a key in Redis."""

from __future__ import annotations

import os
import random
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.fernet import Fernet, InvalidToken

from kombo_embed import EndUser, LinkOptions
from kombo_embed.link_cache.encryption import LinkCipher
from kombo_embed.models import AnyLinkRequest, CacheKey, LinkRequest, RelinkRequest, SetupRequest

PAIRS = 1_000_000 if os.environ.get("LINKS_SOAK") else 5_000
PIECES = ["a", "A", "ß", "ss", "é", "e\u0301", "İ", "i", "ﬁ", "fi"]
PIECES += [":", "|", ",", "\\", '"', "]", "\1", " ", "\u200b", "1"]
VARIATIONS: list[Callable[[str], str]] = [
    str.casefold,
    str.upper,
    str.strip,
    lambda text: text + " ",
    lambda text: unicodedata.normalize("NFC", text),
    lambda text: unicodedata.normalize("NFD", text),
    lambda text: unicodedata.normalize("NFKC", text),
    lambda text: text.replace(":", "|"),
    lambda text: text + "\1",
]
KEY = CacheKey(
    "default",
    EndUser(email="a@b.example", organization_name="B", origin_id="b"),
    LinkRequest("HRIS", "en"),
    account="an-account",
)
NAMES_OF_THE_FIRST_RELEASE = [
    b"kombo-embed:generation:166a1003b18e361cb5fa6498cd7eb177b195c7cb6c3bc6cccb6ffb9d521ce827",
    b"kombo-embed:invalidation:166a1003b18e361cb5fa6498cd7eb177b195c7cb6c3bc6cccb6ffb9d521ce827",
    b"kombo-embed:generation:2b80ac9bac14a041c51c0168d49da0bf5258a0eb6484da9fbe12e7fafca2c74a",
    b"kombo-embed:invalidation:2b80ac9bac14a041c51c0168d49da0bf5258a0eb6484da9fbe12e7fafca2c74a",
]
CIPHERS = [LinkCipher(), LinkCipher([Fernet.generate_key().decode()])]


def test_different_end_users_never_share_a_key(record_property: Callable[[str, object], None]) -> None:
    dice = random.Random(7)  # noqa: S311 - the same pairs each time
    compared = 0
    while compared < PAIRS:
        one = (text(dice), text(dice), text(dice))
        other = similar(dice, one)
        if one == other or not all(part.strip() for part in (*one, *other)):
            continue
        compared += 1
        first, second = key_of(one), key_of(other)
        assert first != second
        cipher = CIPHERS[compared % 2]
        assert cipher.name_of("link", first) != cipher.name_of("link", second)
    record_property("figure", f"0 shared keys of {PAIRS:,} pairs")


def test_every_part_of_a_request_changes_the_name_in_redis() -> None:
    end_user = EndUser(email="a@b.example", organization_name="B", origin_id="b")
    requests: list[AnyLinkRequest] = [
        LinkRequest("HRIS", "en"),
        LinkRequest("ATS", "en"),
        LinkRequest("HRIS", "de"),
        LinkRequest("HRIS", "en", "personio"),
        LinkRequest("HRIS", "en", "None"),
        LinkRequest("HRIS", "en", None, LinkOptions(scope_config_id="x")),
        LinkRequest("HRIS", "en", None, LinkOptions(remote_environment="x")),
        LinkRequest("HRIS", "en", None, LinkOptions(enable_filtering=True)),
        LinkRequest("HRIS", "en", None, LinkOptions(enable_filtering=False)),
        LinkRequest("HRIS", "en", None, LinkOptions(enable_field_mapping=True)),
        RelinkRequest("x", "en"),
        RelinkRequest("x", "en", "y"),
        SetupRequest("x", "en"),
    ]
    keys = [CacheKey("default", end_user, request) for request in requests]
    keys += [CacheKey("us", end_user, requests[0]), CacheKey("default", end_user, requests[0], "account")]
    for cipher in CIPHERS:
        names = {cipher.name_of(kind, key) for key in keys for kind in ("link", "lease")}
        assert len(names) == 2 * len(keys)
        assert {cipher.name_of("link", key) for key in keys} <= names  # the same each time
    assert CIPHERS[0].name_of("link", keys[0]) != CIPHERS[1].name_of("link", keys[0])


@pytest.mark.parametrize("part", ["email", "organization_name", "origin_id"])
def test_each_part_of_an_end_user_alone_changes_the_name_in_redis(part: str) -> None:
    other = replace(KEY, end_user=replace(KEY.end_user, **{part: "another@b.example"}))
    for cipher in CIPHERS:
        assert cipher.name_of("link", KEY) != cipher.name_of("link", other)


def test_the_first_key_encrypts_and_every_key_decrypts() -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    encrypted = encrypt(LinkCipher([old]))
    assert b"a link" not in encrypted
    assert decrypt(LinkCipher([new, old]), encrypted) == b"a link"
    assert decrypt(LinkCipher([new]), encrypted) is None
    assert decrypt(LinkCipher([new]), encrypt(LinkCipher([new, old]))) == b"a link"


def test_the_same_value_is_never_encrypted_alike() -> None:
    cipher = LinkCipher([Fernet.generate_key().decode()])
    assert len({encrypt(cipher)[:12] for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "other",
    [
        {"key": replace(KEY, account="another")},
        {"key": replace(KEY, environment="us")},
        {"name": b"kombo-embed:failure:2:00"},
        {"name": b"kombo-embed:link:2:01"},
        {"generation": b"h" * 16},
        {"generation": b""},
    ],
)
def test_a_value_moved_to_another_use_is_not_decrypted(other: dict[str, Any]) -> None:
    cipher = LinkCipher([Fernet.generate_key().decode()])
    encrypted = encrypt(cipher)
    assert decrypt(cipher, encrypted) == b"a link"
    assert decrypt(cipher, encrypted, **other) is None


def test_no_changed_byte_and_no_truncated_value_is_decrypted() -> None:
    cipher = LinkCipher([Fernet.generate_key().decode()])
    encrypted = encrypt(cipher)
    for index in range(len(encrypted)):
        changed = bytearray(encrypted)
        changed[index] ^= 1
        assert decrypt(cipher, bytes(changed)) is None
        assert decrypt(cipher, encrypted[:index]) is None


def test_the_names_and_the_encryption_have_keys_of_their_own() -> None:
    """The keys of the settings were Fernet keys: what they encrypted or named before is of no use now."""
    key = Fernet.generate_key().decode()
    cipher = LinkCipher([key])
    assert decrypt(cipher, Fernet(key).encrypt(b"a link")) is None
    with pytest.raises(InvalidToken):
        Fernet(key).decrypt(encrypt(cipher))


def test_invalidations_have_the_names_of_the_first_release_whatever_the_account() -> None:
    """Workers of the first release read and write these, during an upgrade."""
    key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
    assert [
        cipher.invalidation_name(kind, "default", "b")
        for cipher in (LinkCipher(), LinkCipher([key]))
        for kind in ("generation", "invalidation")
    ] == NAMES_OF_THE_FIRST_RELEASE


def encrypt(cipher: LinkCipher) -> bytes:
    return cipher.encrypt(b"a link", key=KEY, name=b"kombo-embed:link:2:00", generation=b"g" * 16)


def decrypt(cipher: LinkCipher, value: bytes, **other: Any) -> bytes | None:
    context: dict[str, Any] = {"key": KEY, "name": b"kombo-embed:link:2:00", "generation": b"g" * 16}
    return cipher.decrypt(value, **(context | other))


def text(dice: random.Random) -> str:
    return "".join(dice.choices(PIECES, k=dice.randint(1, 4)))


def similar(dice: random.Random, one: tuple[str, str, str]) -> tuple[str, str, str]:
    """Return a triple that a careless key confuses with this one: normalized, or split at another place."""
    if dice.random() < 0.5:
        vary = dice.choice(VARIATIONS)
        return (vary(one[0]), vary(one[1]), vary(one[2]))
    separator = dice.choice([":", "|", ",", "\1", '","', ""])
    whole = separator.join(one)
    cuts = sorted(dice.sample(range(1, len(whole)), 2)) if len(whole) > 2 else [1, 2]
    return (whole[: cuts[0]], whole[cuts[0] : cuts[1]].removeprefix(separator), whole[cuts[1] :])


def key_of(parts: tuple[str, str, str]) -> CacheKey:
    origin_id, organization_name, tool = parts
    end_user = EndUser(email="a@b.example", organization_name=organization_name, origin_id=origin_id)
    return CacheKey("default", end_user, LinkRequest("HRIS", "en", tool))
