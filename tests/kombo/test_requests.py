from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kombo_embed import EndUser, LinkOptions, errors
from kombo_embed.kombo import requests
from kombo_embed.models import LinkRequest

ADA = EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")
ALWAYS = {
    "end_user_email": "ada@acme.example",
    "end_user_organization_name": "Acme",
    "end_user_origin_id": "acme",
    "link_type": "EMBEDDED",
}


def test_unset_fields_are_omitted() -> None:
    request = requests.mint_link(ADA, LinkRequest("HRIS", "en"))
    assert (request.method, request.path) == ("POST", "/connect/create-link")
    assert request.body == ALWAYS | {"integration_category": "HRIS", "language": "en"}


def test_set_fields_are_sent() -> None:
    options = LinkOptions(
        scope_config_id="s",
        remote_environment="test",
        enable_filtering=True,
        enable_field_mapping=False,
        enable_static_ips=True,
    )
    request = requests.mint_link(ADA, LinkRequest("HRIS", "de", "a_tool_of_tomorrow", options))
    assert request.body == ALWAYS | {
        "integration_category": "HRIS",
        "language": "de",
        "integration_tool": "a_tool_of_tomorrow",
        "scope_config_id": "s",
        "remote_environment": "test",
        "enable_filtering": True,
        "enable_field_mapping": False,
        "enable_static_ips": True,
    }


@given(token=st.from_regex(requests.TOKEN, fullmatch=True))
def test_a_token_stays_one_segment_of_the_path(token: str) -> None:
    path = requests.integration_by_token(token).path
    prefix = "/connect/integration-by-token/"
    assert path.startswith(prefix)
    segment = path.removeprefix(prefix)
    assert segment
    assert segment not in {".", ".."}
    assert not set(segment) & set("/?#\\ ")


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a/b", "a\\b", "a?b", "a#b", "a b", "a\n", "%2e%2e", "ä", "a" * 4097]
)
def test_a_token_that_could_address_another_endpoint_is_refused(token: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        requests.integration_by_token(token)
    assert caught.value.errors[0].field == "activation_token"
