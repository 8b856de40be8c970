"""No two end users, and no two requests, share a link: neither in memory nor by a key in Redis."""

from __future__ import annotations

import os
import random
import unicodedata
from collections.abc import Callable

from cryptography.fernet import Fernet

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
CIPHERS = [LinkCipher(), LinkCipher([Fernet.generate_key().decode()])]


def test_different_end_users_never_share_a_key() -> None:
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
    keys += [CacheKey("us", end_user, requests[0])]
    for cipher in CIPHERS:
        names = {cipher.name_of(kind, key) for key in keys for kind in ("link", "lease")}
        assert len(names) == 2 * len(keys)
        assert {cipher.name_of("link", key) for key in keys} <= names  # the same each time
    assert CIPHERS[0].name_of("link", keys[0]) != CIPHERS[1].name_of("link", keys[0])


def test_the_first_key_encrypts_and_every_key_decrypts() -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    encrypted = LinkCipher([old]).encrypt(b"a link")
    assert b"a link" not in encrypted
    assert LinkCipher([new, old]).decrypt(encrypted) == b"a link"
    assert LinkCipher([new]).decrypt(encrypted) is None
    assert LinkCipher([new]).decrypt(LinkCipher([new, old]).encrypt(b"a link")) == b"a link"


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
