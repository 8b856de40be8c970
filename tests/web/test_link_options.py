"""Link options of the host: per request, over the settings."""

from __future__ import annotations

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from kombo_embed import EndUser, KomboEmbed, LinkOptions
from kombo_embed.errors import InvalidRequest
from kombo_embed.sandbox import Sandbox
from tests.fakes import RecordingTransport
from tests.support import end_user_from_header, make_settings, person, running


async def per_organization(_connection: HTTPConnection, end_user: EndUser) -> LinkOptions:
    if end_user.origin_id == "acme":
        return LinkOptions(scope_config_id="scope-of-acme", remote_environment="test")
    return LinkOptions()


async def test_options_of_the_host_override_the_settings_per_request(kombo: httpx.AsyncBaseTransport) -> None:
    recording = RecordingTransport(kombo)
    app = Starlette()
    settings = make_settings(scope_config_id="scope-of-all", enable_field_mapping=True)
    KomboEmbed(
        end_user=end_user_from_header,
        link_options=per_organization,
        settings=settings,
        http_transport=recording,
    ).install(app)
    async with running(app) as client:
        tool = {"integration_tool": "personio"}
        await client.post("/kombo/links", headers=person("ada@acme"), json=tool)
        await client.post("/kombo/links", headers=person("alan@bletchley"), json=tool)
    acme, bletchley = recording.bodies
    assert (acme["scope_config_id"], acme["remote_environment"]) == ("scope-of-acme", "test")
    assert bletchley["scope_config_id"] == "scope-of-all"
    assert "remote_environment" not in bletchley
    assert acme["enable_field_mapping"] is bletchley["enable_field_mapping"] is True


@pytest.mark.parametrize(
    "wrong",
    [
        lambda *_: {"scope_config_id": "x"},
        lambda *_: 1 / 0,
        lambda *_: LinkOptions(scope_config_id="half \ud83d"),
        lambda *_: LinkOptions(remote_environment="\x00"),
    ],
)
async def test_a_callable_that_fails_or_returns_something_else_is_an_identity_error(
    wrong: object, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app = Starlette()
    KomboEmbed(
        end_user=end_user_from_header,
        link_options=wrong,  # type: ignore[arg-type]
        settings=make_settings(),
        http_transport=kombo,
    ).install(app)
    async with running(app) as client:
        response = await client.post("/kombo/links", headers=person("ada@acme"), json={})
    assert (response.status_code, response.json()["code"]) == (500, "identity_error")
    assert sandbox.calls == {}


async def test_texts_of_the_host_that_utf_8_cannot_encode_are_no_foreign_exceptions(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, database_url: str
) -> None:
    settings = make_settings(database_url=database_url)
    ada = EndUser("ada@acme.example", "Acme", "acme")
    async with KomboEmbed(end_user=end_user_from_header, settings=settings, http_transport=kombo) as embed:
        with pytest.raises(InvalidRequest, match="integration_tool"):
            await embed.magic_link(ada, tool="half \ud83d")
        assert sandbox.calls == {}
        assert await embed.integration("personio:\ud83d") is None
        assert await embed.magic_link(ada, actor="Grace \ud83d")
        await embed.erase("acme", actor="Grace \ud83d")
