from __future__ import annotations

import uuid
from typing import Any

import pytest

from kombo_embed.auth.claims import ClaimPaths, parse_end_user
from kombo_embed.errors import IdentityError


def origin_id(path: str, **source: Any) -> str:
    paths = ClaimPaths(email="email", organization_name="name", origin_id=path, prefix="KOMBO_US_")
    return parse_end_user({"email": "ada@acme.example", "name": "Acme", **source}, paths).origin_id


def test_a_key_with_dots_takes_precedence_over_steps() -> None:
    assert origin_id("org.id", **{"org.id": "key", "org": {"id": "steps"}}) == "key"


def test_at_each_step_the_longest_key_is_taken() -> None:
    source: dict[str, Any] = {"a.b": {"c.d": "longest", "c": {"d": "no"}}, "a": {"b.c.d": "no"}}
    assert origin_id("a.b.c.d", **source) == "longest"
    assert origin_id("https://acme.example/org.id", **{"https://acme.example/org": {"id": "7"}}) == "7"


def test_a_number_and_a_uuid_become_their_strings() -> None:
    known = uuid.uuid4()
    assert origin_id("id", id=7) == "7"
    assert origin_id("id", id=known) == str(known)


@pytest.mark.parametrize(
    "source",
    [{}, {"id": None}, {"org": None}, {"org": {"id": None}}, {"org": "id"}, {"org": ["id"]}],
    ids=str,
)
@pytest.mark.parametrize("path", ["id", "org.id", ".", "..", "id.", ".id"])
def test_a_path_without_a_value_is_named_with_its_setting(path: str, source: dict[str, Any]) -> None:
    with pytest.raises(IdentityError, match="where KOMBO_US_CLAIM_ORIGIN_ID says to look"):
        origin_id(path, **source)


@pytest.mark.parametrize("value", [True, False, 1.5, b"7", ["7"], {"id": 7}], ids=str)
def test_a_value_of_another_type_is_not_an_origin_id(value: Any) -> None:
    with pytest.raises(IdentityError, match=r"EndUser.origin_id must be a string"):
        origin_id("id", id=value)
