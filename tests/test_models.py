"""End users, links, cache keys, and the next action of an integration."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from kombo_embed import EndUser, Integration
from kombo_embed.errors import IdentityError
from kombo_embed.models import (
    CacheKey,
    ConnectionLink,
    LinkOptions,
    LinkRequest,
    RelinkRequest,
    SetupRequest,
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
        (None, None, "none"),
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
