from __future__ import annotations

import uuid
from typing import Any

import pytest

from kombo_embed.auth.claims import AmbiguousClaim, ClaimPaths, parse_end_user
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


LISTS: dict[str, Any] = {"orgs": [{"id": "first"}, {"id": "second"}], "one": ["acme"], "pair": ("a", "b")}


@pytest.mark.parametrize(
    ("path", "found"), [("orgs.0.id", "first"), ("orgs.1.id", "second"), ("one.0", "acme"), ("pair.1", "b")]
)
def test_an_index_is_an_element_of_a_list(path: str, found: str) -> None:
    assert origin_id(path, **LISTS) == found


@pytest.mark.parametrize(
    "step", ["2", "-1", "00", "01", "+1", "1_0", "\u0661", "0.", "9" * 200, "id", "len", "__len__", "count"]
)
def test_anything_else_than_the_index_of_an_element_is_missing(step: str) -> None:
    with pytest.raises(IdentityError, match="there is no"):
        origin_id(f"pair.{step}", **LISTS)


def test_a_key_that_looks_like_an_index_is_a_key_of_a_map() -> None:
    assert origin_id("orgs.0", orgs={"0": "key"}) == "key"


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        ("org.*", ["acme"], "acme"),
        ("org.*", ("acme",), "acme"),
        ("org.*", {"acme": {"id": "7"}}, "acme"),
        ("org.*", {"acme": None}, "acme"),
        ("org.*", {"*": {"id": "7"}}, "*"),
        ("org.*.id", {"acme": {"id": "7"}}, "7"),
        ("org.*.id", [{"id": 7}], "7"),
        ("org.*.*", {"acme": ["7"]}, "7"),
        ("org.*.*.id", [{"acme": {"id": "7"}}], "7"),
        ("org.*.https://acme.example/id", {"acme": {"https://acme.example/id": "7"}}, "7"),
        ("org.*.a.b", {"acme": {"a.b": "7"}}, "7"),
        ("https://acme.example/orgs.*.id", None, "dotted"),
    ],
)
def test_a_star_is_the_only_element_value_or_key(path: str, value: Any, found: str) -> None:
    assert origin_id(path, org=value, **{"https://acme.example/orgs": [{"id": "dotted"}]}) == found


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("org.*", ["acme", "other"]),
        ("org.*", ["acme", "acme"]),
        ("org.*", {"acme": {}, "other": {}}),
        ("org.*.id", {"acme": {"id": "7"}, "other": {}}),
        ("org.*.id", {"acme": {"id": "7"}, "*": {"id": "8"}}),
        ("org.*.id", {"acme": {"id": "7"}, "*.id": "8"}),
        ("org.*.*", {"acme": ["7", "8"]}),
    ],
    ids=str,
)
def test_two_candidates_for_a_star_are_an_error_that_names_none(path: str, value: Any) -> None:
    with pytest.raises(AmbiguousClaim, match=r"several values.*KOMBO_US_CLAIM_ORIGIN_ID") as caught:
        origin_id(path, org=value)
    assert "acme" not in str(caught.value)


@pytest.mark.parametrize("value", [[], {}, None, "acme", 7, True, {"acme": "id"}, {"acme": []}], ids=str)
def test_a_star_without_a_candidate_is_missing(value: Any) -> None:
    with pytest.raises(IdentityError, match="there is no"):
        origin_id("org.*.id", org=value)


@pytest.mark.parametrize("key", ["org.*.id", "org.*", "org.*.id.*"])
def test_no_key_stands_for_a_path_with_a_star(key: str) -> None:
    assert origin_id("org.*.id.*", **{key: {"id": ["key"]}, "org": {"acme": {"id": ["7"]}}}) == "7"
    assert origin_id("org.*.id", **{key: {"id": "key"}, "org": {"acme": {"id": "7"}}}) == "7"


def test_a_star_within_a_name_is_a_part_of_the_name() -> None:
    assert origin_id("*id", **{"*id": "7", "id": "8"}) == "7"


def test_the_whole_source_can_have_a_single_value() -> None:
    paths = ClaimPaths(email="*.email", organization_name="*.name", origin_id="*.id", prefix="KOMBO_")
    source = {"acme": {"email": "ada@acme.example", "name": "Acme", "id": 7}}
    assert parse_end_user(source, paths).origin_id == "7"


def test_a_deep_source_and_a_long_path_are_no_problem() -> None:
    nested: Any = "7"
    for _ in range(127):
        nested = {"a": nested}
    assert origin_id(".".join("a" * 127), **nested) == "7"


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
