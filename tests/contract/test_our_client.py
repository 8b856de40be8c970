"""Our client takes an integration through its whole life, and sends only what Kombo documents."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kombo_embed import EndUser, LinkOptions, errors
from kombo_embed.kombo import requests
from kombo_embed.kombo.client import KomboClient
from kombo_embed.models import EMAIL, LinkRequest, LinkType, RelinkRequest, SetupRequest
from kombo_embed.sandbox import Sandbox
from tests.support import API_KEY, SANDBOX_URL

ADA = EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")
LANGUAGES = ["en", "de", "fr", "it", "es"]
LINK_TYPES: list[LinkType] = ["EMBEDDED", "MAGIC_LINK"]

# What each field may contain: Kombo's OpenAPI of POST /connect/create-link, and enable_static_ips of its
# Python SDK 1.4.0. Some may be null, which we never send. The list of tools is open: Kombo adds some.
TEXT = {"type": str, "least": 1}
FIELDS: dict[str, dict[str, Any]] = {
    "end_user_email": {"type": str, "format": EMAIL, "required": True},
    "end_user_organization_name": {**TEXT, "required": True},
    "end_user_origin_id": TEXT,
    "remote_environment": {"type": str, "least": 0},
    "integration_category": {"type": str, "enum": ["HRIS", "ATS", "ASSESSMENT", "LMS"]},
    "integration_tool": TEXT,
    "language": {"type": str, "enum": LANGUAGES},
    "scope_config_id": {"type": str, "least": 0},
    "enable_filtering": {"type": bool},
    "enable_field_mapping": {"type": bool},
    "enable_static_ips": {"type": bool},
    "link_type": {"type": str, "enum": LINK_TYPES},
}
RELINK = {name: FIELDS[name] for name in ("language", "scope_config_id", "link_type")}
SETUP = {"language": FIELDS["language"], "link_type": {**FIELDS["link_type"], "required": True}}

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30).filter(
    str.strip
)
options = st.builds(
    LinkOptions,
    scope_config_id=st.none() | st.text(max_size=10),
    remote_environment=st.none() | st.text(max_size=10),
    enable_filtering=st.none() | st.booleans(),
    enable_field_mapping=st.none() | st.booleans(),
    enable_static_ips=st.none() | st.booleans(),
)


def assert_documented(body: dict[str, Any] | None, fields: dict[str, dict[str, Any]]) -> None:
    assert body is not None
    assert {name for name, field in fields.items() if field.get("required")} <= set(body)
    for name, value in body.items():
        field = fields[name]
        assert type(value) is field["type"]
        assert value in field.get("enum", [value])
        assert "least" not in field or len(value) >= field["least"]
        assert "format" not in field or field["format"].fullmatch(value)


@given(
    end_user=st.builds(EndUser, email=st.emails(), organization_name=texts, origin_id=texts),
    request=st.builds(
        LinkRequest,
        category=st.sampled_from(FIELDS["integration_category"]["enum"]),
        language=st.sampled_from(LANGUAGES),
        tool=st.none() | texts,
        options=options,
    ),
    link_type=st.sampled_from(LINK_TYPES),
)
def test_every_body_for_a_connection_link_is_as_documented(
    end_user: EndUser, request: LinkRequest, link_type: LinkType
) -> None:
    body = requests.mint_link(end_user, request, link_type).body
    assert_documented(body, FIELDS)
    assert body is not None
    assert "remote_environment" not in body or "integration_tool" in body
    assert "enable_filtering" not in body or body["integration_category"] == "HRIS"


@given(
    language=st.sampled_from(LANGUAGES),
    scope_config_id=st.none() | texts,
    link_type=st.sampled_from(LINK_TYPES),
)
def test_every_body_for_a_reconnection_or_setup_link_is_as_documented(
    language: str, scope_config_id: str | None, link_type: LinkType
) -> None:
    relink = requests.mint_link(ADA, RelinkRequest("personio:x", language, scope_config_id), link_type)
    assert_documented(relink.body, RELINK)
    setup = requests.mint_link(ADA, SetupRequest("personio:x", language), link_type)
    assert_documented(setup.body, SETUP)


@pytest.fixture
def client(kombo: httpx.AsyncBaseTransport) -> KomboClient:
    return KomboClient(
        base_url=f"{SANDBOX_URL}/v1",
        api_key=API_KEY,
        timeout_seconds=10,
        connect_timeout_seconds=3,
        clock=time,
        transport=kombo,
    )


async def test_the_whole_life_of_an_integration(sandbox: Sandbox, client: KomboClient) -> None:
    assert (await client.check_api_key()).environment_id
    assert "personio" in {tool.id for tool in await client.list_tools("HRIS")}
    wanted = LinkRequest("HRIS", "de", options=LinkOptions(enable_filtering=True, enable_static_ips=True))
    flow = await sandbox.complete(await client.mint_link(ADA, wanted), "personio")

    reported = await client.integration_by_token(flow.activation_token)
    assert (reported.integration_id, reported.origin_id) == (flow.integration_id, "acme")
    details = await client.integration_details(flow.integration_id)
    assert (details.tool, details.category, details.status) == ("personio", "HRIS", "ACTIVE")
    assert details.setup_status == reported.setup_status

    setup = await client.mint_link(ADA, SetupRequest(flow.integration_id, "de"))
    await sandbox.complete(setup)
    assert (await client.integration_details(flow.integration_id)).setup_status == "COMPLETED"
    await sandbox.complete(await client.mint_link(ADA, RelinkRequest(flow.integration_id, "de")))

    await client.delete_integration(flow.integration_id)
    with pytest.raises(errors.KomboRejected) as caught:
        await client.integration_details(flow.integration_id)
    assert caught.value.kombo_code == "PLATFORM.INTEGRATION_NOT_FOUND"


async def test_an_unknown_tool_and_one_of_another_category_make_links(
    client: KomboClient,
) -> None:
    for tool in ("a_tool_of_tomorrow", "greenhouse"):
        assert await client.mint_link(ADA, LinkRequest("HRIS", "en", tool))


@pytest.mark.parametrize(
    "integration_id", ["", ".", "..", "a/b", "../connect", "a?b", "a#b", "a\x00", "a" * 300]
)
async def test_an_id_that_could_address_another_endpoint_is_refused_before_any_request(
    integration_id: str, sandbox: Sandbox, client: KomboClient
) -> None:
    for call in (
        client.integration_details(integration_id),
        client.delete_integration(integration_id),
        client.mint_link(ADA, RelinkRequest(integration_id, "en")),
        client.mint_link(ADA, SetupRequest(integration_id, "en")),
    ):
        with pytest.raises(errors.IntegrationNotFound):
            await call
    assert sandbox.calls == {}
