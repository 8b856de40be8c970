from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kombo_embed import errors
from kombo_embed.kombo import responses

NOW = datetime(2026, 1, 1, tzinfo=UTC)
API_URL = "https://api.kombo.dev/v1"


@pytest.mark.parametrize(
    "link",
    [
        "https://connect.kombo.dev/v1?token=abc.def-ghi",
        "https://another.example/x",
        "http://localhost:8001/connect?token=abc",
        "http://127.0.0.1:8001/connect",
        "http://[::1]:8001/connect",
    ],
)
def test_an_https_link_is_accepted_and_so_is_http_on_this_machine(link: str) -> None:
    assert responses.parse_link(response({"link": link}), api_url=API_URL) == link


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{",
        b"null",
        b"[]",
        b'{"status": "success"}',
        b'{"status": "success", "data": {}}',
        b'{"status": "success", "data": {"link": null}}',
        b'{"status": "success", "data": {"link": 5}}',
        *(
            json.dumps({"status": "success", "data": {"link": link}}).encode()
            for link in (
                "",
                "connect.kombo.dev/v1",
                "/v1?token=a",
                "http://connect.kombo.dev/v1",
                "http://127.0.0.1.evil.example/",
                "http://localhost.evil.example/",
                "javascript:alert(1)",
                "data:text/html,x",
                "ftp://connect.kombo.dev",
                "capacitor://connect.kombo.dev",
                "https://",
                "https://[broken",
                "https://connect.kombo.dev/\r\nSet-Cookie: x",
                "https://connect.kombo.dev/ v1",
                "https:\\\\connect.kombo.dev",
                # Browsers cannot parse these, or do not load them into a frame.
                'https://connect.kombo.dev"><script>',
                "https://connect.kombo.dev:99999/",
                "https://connect.kombo.dev:443x/",
                "https://connect%00.kombo.dev/",
                "https://connect..kombo.dev/",
                "https://[1:2]/",
                "https://256.0.0.1/",
                "https://connect.kombo.dev@evil.example/",
                "https://connect.kombo.dev/" + "a" * 100_000,
            )
        ),
    ],
)
def test_any_other_response_contains_no_link(body: bytes) -> None:
    with pytest.raises(errors.KomboInvalidResponse) as caught:
        responses.parse_link(body, api_url=API_URL)
    assert "evil" not in str(caught.value)


SANDBOX_LINK = "http://sandbox:8001/connect?token=abc"


def test_an_http_link_of_a_sandbox_elsewhere_is_accepted_from_that_sandbox_alone() -> None:
    body = response({"link": SANDBOX_LINK})
    assert responses.parse_link(body, api_url="http://sandbox:8001/v1") == SANDBOX_LINK
    for api_url in (
        "https://sandbox:8001/v1",
        "http://sandbox:8002/v1",
        "http://sandbox.example:8001/v1",
        "http://localhost:8001/v1",
        API_URL,
    ):
        with pytest.raises(errors.KomboInvalidResponse):
            responses.parse_link(body, api_url=api_url)


@pytest.mark.parametrize(
    "link",
    [
        "http://sandbox:8001@evil.example/",
        "http://sandbox:8001.evil.example/",
        "http://evil.example/",
        "//sandbox:8001",
    ],
)
def test_a_sandbox_elsewhere_gives_no_other_http_link(link: str) -> None:
    with pytest.raises(errors.KomboInvalidResponse):
        responses.parse_link(response({"link": link}), api_url="http://sandbox:8001/v1")


def test_logos_of_a_sandbox_elsewhere_are_kept() -> None:
    logo = "http://sandbox:8001/assets/tools/personio.svg"
    body = response({"tools": [{"id": "personio", "label": "Personio", "assets": {"logo_url": logo}}]})
    [of_sandbox] = responses.parse_tools(body, api_url="http://sandbox:8001/v1")
    [of_another] = responses.parse_tools(body, api_url=API_URL)
    assert (of_sandbox.logo_url, of_another.logo_url) == (logo, None)


@pytest.mark.parametrize(
    "of_one",
    [
        {"label": None},
        {"label": ""},
        {"label": 7},
        {"label": "half \ud83d"},
        {"label": "x" * 3000},
        {"label": "One", "assets": None},
        {"label": "One", "assets": {"logo_url": 7}},
        {"label": "One", "assets": {"logo_url": "https://cdn.example:99999/one.svg"}},
    ],
)
def test_a_tool_without_a_usable_label_or_logo_hides_no_other_tool(of_one: dict[str, Any]) -> None:
    logo = "https://cdn.example/personio.svg"
    personio = {"id": "personio", "label": "Personio", "assets": {"logo_url": logo}}
    tools = responses.parse_tools(response({"tools": [{"id": "one", **of_one}, personio]}), api_url=API_URL)
    assert [(tool.id, tool.logo_url) for tool in tools] == [("one", None), ("personio", logo)]
    assert [tool.label for tool in tools] in (["one", "Personio"], ["One", "Personio"])


@given(body=st.binary(max_size=200))
def test_no_response_raises_a_foreign_exception(body: bytes) -> None:
    for parse in (partial(responses.parse_link, api_url=API_URL), responses.parse_integration):
        with pytest.raises(errors.KomboInvalidResponse):
            parse(body)
    assert isinstance(responses.parse_error(418, None, body, now=NOW), errors.KomboError)


def test_an_integration_is_parsed_with_the_fields_that_kombo_leaves_null() -> None:
    reported = responses.parse_integration(
        response(
            {
                "id": "personio:x",
                "tool": "personio",
                "end_user_origin_id": None,
                "end_user_organization_name": "Acme",
                "end_user_email": None,
                "setup_status": "SOMETHING_NEW",
                "another": 1,
            }
        )
    )
    assert reported.integration_id == "personio:x"
    assert reported.origin_id is None
    assert reported.setup_status == "SOMETHING_NEW"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (429, "PLATFORM.RATE_LIMIT_EXCEEDED", errors.KomboRateLimited),
        (400, "PLATFORM.RATE_LIMIT_EXCEEDED", errors.KomboRateLimited),
        (429, None, errors.KomboRateLimited),
        (503, None, errors.KomboUnavailable),
        (500, None, errors.KomboUnavailable),
        (500, "PLATFORM.TASK_TIMED_OUT", errors.KomboUnavailable),
        (401, "PLATFORM.AUTHENTICATION_INVALID", errors.KomboRejected),
        (403, None, errors.KomboRejected),
        (400, "PLATFORM.INPUT_INVALID", errors.KomboRejected),
        (500, "PLATFORM.UNKNOWN_ERROR", errors.KomboRejected),
        (418, "A.CODE_OF_TOMORROW", errors.KomboRejected),
        (307, None, errors.KomboInvalidResponse),
        (201, None, errors.KomboInvalidResponse),
    ],
)
def test_the_code_decides_about_an_error_and_the_status_only_without_one(
    status: int, code: str | None, kind: type[errors.KomboError]
) -> None:
    body = {"status": "error", "error": {"code": code, "title": None, "message": "a secret", "log_url": None}}
    error = responses.parse_error(status, "7", json.dumps(body).encode(), now=NOW)
    assert type(error) is kind
    assert "a secret" not in str(error)
    if isinstance(error, errors.KomboRateLimited | errors.KomboUnavailable):
        assert error.retry_after == 7


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 1),
        ("-1", 1),
        ("30", 30),
        ("1000000000", 3600),
        ("9" * 5000, None),
        ("soon", None),
        ("", None),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 1),
        ("Mon, 99 Nonsense 2026", None),
    ],
)
def test_retry_after_is_parsed_in_both_forms_and_clamped(value: str | None, seconds: int | None) -> None:
    assert responses.parse_retry_after(value, now=NOW) == seconds


def response(data: dict[str, Any]) -> bytes:
    return json.dumps({"status": "success", "data": data}).encode()


@pytest.mark.parametrize("origin_id", ["ac\x00me", "ac\ud83dme", "", "a" * 513, None])
def test_an_origin_id_that_no_end_user_can_have_counts_as_none(origin_id: str | None) -> None:
    reported = {"id": "personio:1", "tool": "personio", "end_user_origin_id": origin_id}
    assert responses.parse_integration(response(reported)).origin_id is None
    details = {"id": "personio:1", "tool": {"id": "personio"}, "end_user": {"origin_id": origin_id}}
    assert responses.parse_details(response(details), api_url=API_URL).origin_id is None


def test_half_an_emoji_in_a_name_does_not_lose_the_integration() -> None:
    reported = {
        "id": "personio:1",
        "tool": "personio",
        "end_user_origin_id": "acme",
        "end_user_organization_name": "Acme \ud83d",
    }
    integration = responses.parse_integration(response(reported))
    assert (integration.integration_id, integration.origin_id) == ("personio:1", "acme")
    assert (integration.organization_name or "").encode().startswith(b"Acme ")


@pytest.mark.parametrize("integration_id", ["a\x00", "a\ud83d", ""])
def test_an_id_that_cannot_be_stored_as_it_is_makes_a_response_invalid(integration_id: str) -> None:
    with pytest.raises(errors.KomboInvalidResponse):
        responses.parse_integration(response({"id": integration_id, "tool": "personio"}))
