"""End users, links, cache keys, and the next action of an integration."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kombo_embed import EndUser, Integration
from kombo_embed.errors import IdentityError
from kombo_embed.models import (
    CacheKey,
    ConnectionLink,
    LinkOptions,
    LinkRequest,
    RelinkRequest,
    SetupRequest,
    is_origin_id,
)

GOOD: dict[str, Any] = {"email": "ada@acme.example", "organization_name": "Acme", "origin_id": "acme"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", ""),
        ("email", None),
        ("email", "not-an-email"),
        ("email", "ada@"),
        ("email", "@acme.example"),
        ("email", "ada@@acme.example"),
        ("email", "ada@acme..example"),
        ("email", "ada @acme.example"),
        ("email", "ada@acme.example\nBcc: x@y.example"),
        ("email", "a" * 250 + "@acme.example"),
        ("organization_name", ""),
        ("organization_name", "  "),
        ("organization_name", 7),
        ("organization_name", "Acme\x00"),
        ("origin_id", ""),
        ("origin_id", 42),
        ("origin_id", None),
        ("origin_id", "ac\x00me"),
        ("organization_name", "Acme \ud83d"),
        ("origin_id", "a" * 513),
    ],
)
def test_an_incomplete_or_invalid_identity_is_rejected(field: str, value: object) -> None:
    with pytest.raises(IdentityError, match=field) as caught:
        EndUser(**(GOOD | {field: value}))
    if isinstance(value, str) and value.strip():
        assert value not in str(caught.value)


@pytest.mark.parametrize(
    "email", ["ada@acme.example", "ada.b+c@sub.acme.test", "root@localhost", "ä@bücher.example"]
)
def test_real_addresses_are_accepted(email: str) -> None:
    assert EndUser(**(GOOD | {"email": email})).email == email


def test_the_repr_has_neither_an_email_nor_a_link() -> None:
    assert "ada" not in repr(EndUser(**GOOD))
    link = ConnectionLink.minted(
        "https://connect.kombo.dev/v1?token=abc", expires_at=datetime(2026, 1, 1, tzinfo=UTC), deadline=1.0
    )
    assert "abc" not in repr(link)
    key = CacheKey("default", EndUser(**GOOD), LinkRequest("HRIS", "en"))
    assert "ada" not in repr(key)
    assert "Acme" not in repr(key)
    assert "acme" in repr(key)


@pytest.mark.parametrize(
    "other",
    [
        CacheKey("us", EndUser(**GOOD), LinkRequest("HRIS", "en")),
        CacheKey("default", EndUser(**GOOD | {"email": "b@acme.example"}), LinkRequest("HRIS", "en")),
        CacheKey("default", EndUser(**GOOD | {"organization_name": "B"}), LinkRequest("HRIS", "en")),
        CacheKey("default", EndUser(**GOOD | {"origin_id": "b"}), LinkRequest("HRIS", "en")),
        CacheKey("default", EndUser(**GOOD), LinkRequest("ATS", "en")),
        CacheKey("default", EndUser(**GOOD), LinkRequest("HRIS", "de")),
        CacheKey("default", EndUser(**GOOD), LinkRequest("HRIS", "en", "personio")),
        CacheKey("default", EndUser(**GOOD), LinkRequest("HRIS", "en", None, LinkOptions("scope"))),
        CacheKey("default", EndUser(**GOOD), RelinkRequest("HRIS", "en")),
        CacheKey("default", EndUser(**GOOD), SetupRequest("HRIS", "en")),
    ],
)
def test_cache_keys_are_equal_only_if_everything_in_them_is(other: CacheKey) -> None:
    key = CacheKey("default", EndUser(**GOOD), LinkRequest("HRIS", "en"))
    assert key == CacheKey("default", EndUser(**GOOD), LinkRequest("HRIS", "en"))
    assert hash(key) == hash(CacheKey("default", EndUser(**GOOD), LinkRequest("HRIS", "en")))
    assert key != other


class Markup(str):
    """A string as template engines have it: it has slots, and escapes what is added to it."""

    __slots__ = ()

    def __str__(self) -> str:
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str)

    __hash__ = str.__hash__


class Organization(StrEnum):
    ACME = "acme"
    BETA = "beta"


@pytest.mark.parametrize("kind", [Markup, Organization])
def test_strings_of_a_subclass_become_plain_ones(kind: Callable[[str], str]) -> None:
    end_users = [EndUser(**GOOD | {"origin_id": kind(name)}) for name in ("acme", "beta")]
    assert [type(one.origin_id) for one in end_users] == [str, str]
    assert end_users[0] == EndUser(**GOOD)
    assert end_users[0] != end_users[1]
    options = [LinkOptions(scope_config_id=kind(name)) for name in ("acme", "beta")]
    assert options[0] == LinkOptions("acme") != options[1]
    assert type(options[0].scope_config_id) is str


# Texts that are easily taken for each other, and the characters that could separate the parts of a key.
SIMILAR = st.sampled_from(
    [
        *("acme", "acme ", " acme", "Acme", "ACME", "acme\t", "acme\u200b", "\x01acme", "\ufeffacme"),
        *("ac/me", "ac:me", "ac,me", 'ac"me', "ac\\me", "ac\nme", "acme?", "acme%00", "acme\ufffd"),
        *("caf\u00e9", "cafe\u0301", "\ufb01", "fi", "K", "\u212a"),
        *("null", "None", "[]", "a" * 512, "a" * 511),
    ]
)
TEXTS = SIMILAR | st.text(alphabet='a:/,"\\[] \u00e9\u0301\ufffd', min_size=1, max_size=6)
STORABLE = TEXTS.filter(lambda text: not text.isspace())
EMAILS = st.sampled_from(["ada@acme.example", "Ada@acme.example", "a@b", '"a"@b', "a,b@c", "a:b@c", "a/b@c"])
END_USERS = st.builds(EndUser, email=EMAILS, organization_name=STORABLE, origin_id=STORABLE)
NAMES = st.sampled_from(["HRIS", "ATS", "en", "de", "personio", "a:b", "a"])
OPTIONS = st.builds(LinkOptions, st.none() | NAMES, st.none() | NAMES, st.sampled_from([None, True, False]))
REQUESTS = (
    st.builds(LinkRequest, NAMES, NAMES, st.none() | NAMES, OPTIONS)
    | st.builds(RelinkRequest, NAMES, NAMES, st.none() | NAMES)
    | st.builds(SetupRequest, NAMES, NAMES)
)
KEYS = st.builds(CacheKey, st.sampled_from(["default", "us"]), END_USERS, REQUESTS)


def parts_of(key: CacheKey) -> tuple[object, ...]:
    """Return everything in a key; texts as code points, so that nothing is normalized."""
    request = asdict(key.request) | {"class": type(key.request).__name__}
    texts = (key.end_user.email, key.end_user.organization_name, key.end_user.origin_id)
    return key.environment, *(tuple(map(ord, text)) for text in texts), repr(request)


@given(KEYS, KEYS)
def test_two_cache_keys_are_equal_if_and_only_if_all_of_their_parts_are(
    one: CacheKey, other: CacheKey
) -> None:
    assert (one == other) is (parts_of(one) == parts_of(other))
    assert len({one, other}) == 1 + (one != other)


def test_origin_ids_that_no_database_stores_as_they_are_are_refused_and_never_replaced() -> None:
    for text in ("acme\x00", "\x00acme", "ac\x00me", "acme\ud83d", "\udc00", "a" * 513):
        with pytest.raises(IdentityError, match="origin_id"):
            EndUser(**GOOD | {"origin_id": text})
        assert not is_origin_id(text)


def test_a_minted_link_is_kept_as_the_body_that_the_browser_gets() -> None:
    link = ConnectionLink.minted(
        "https://connect.kombo.dev/v1?token=ä", expires_at=datetime(2026, 1, 1, tzinfo=UTC), deadline=1.0
    )
    assert link.link == "https://connect.kombo.dev/v1?token=ä"
    assert json.loads(link.body) == {"link": link.link, "expires_at": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("status", "setup_status", "action"),
    [
        ("INACTIVE", "INCOMPLETE", "enable"),
        ("INVALID", "INCOMPLETE", "reconnect"),
        ("ACTIVE", "INCOMPLETE", "finish_setup"),
        ("ACTIVE", "FINAL_SYNC_PENDING", "wait_for_sync"),
        ("ACTIVE", "COMPLETED", "none"),
        (None, None, "pending"),
        ("ACTIVE", None, "pending"),
        (None, "COMPLETED", "none"),
        ("INVALID", None, "reconnect"),
        ("A_NEW_STATE", "ANOTHER", "none"),
    ],
)
def test_the_next_action_is_the_first_that_applies(
    status: str | None, setup_status: str | None, action: str
) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    integration = Integration(
        integration_id="personio:x",
        public_id="p",
        origin_id="acme",
        tool="personio",
        category="HRIS",
        organization_name="Acme",
        email=None,
        status=status,
        setup_status=setup_status,
        connected_at=moment,
        updated_at=moment,
    )
    assert integration.next_action == action
