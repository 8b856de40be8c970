from __future__ import annotations

import json

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from kombo_embed import EndUser, KomboEmbed, LinkOptions
from kombo_embed.sandbox import Sandbox
from tests.support import make_settings, person, running, who_the_header_names


class Watched(httpx.AsyncBaseTransport):
    def __init__(self, kombo: httpx.AsyncBaseTransport) -> None:
        self._kombo = kombo
        self.bodies: list[dict[str, object]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(json.loads(request.content))
        return await self._kombo.handle_async_request(request)


async def per_organisation(_connection: HTTPConnection, end_user: EndUser) -> LinkOptions:
    if end_user.origin_id == "acme":
        return LinkOptions(scope_config_id="scope-of-acme", remote_environment="test")
    return LinkOptions()


async def test_the_host_decides_per_request_over_the_settings(kombo: httpx.AsyncBaseTransport) -> None:
    watched = Watched(kombo)
    app = Starlette()
    settings = make_settings(scope_config_id="everybody's", enable_field_mapping=True)
    KomboEmbed(
        end_user=who_the_header_names,
        link_options=per_organisation,
        settings=settings,
        http_transport=watched,
    ).install(app)
    async with running(app) as client:
        tool = {"integration_tool": "personio"}
        await client.post("/kombo/links", headers=person("ada@acme"), json=tool)
        await client.post("/kombo/links", headers=person("alan@bletchley"), json=tool)
    acme, bletchley = watched.bodies
    assert (acme["scope_config_id"], acme["remote_environment"]) == ("scope-of-acme", "test")
    assert bletchley["scope_config_id"] == "everybody's"
    assert "remote_environment" not in bletchley
    assert acme["enable_field_mapping"] is bletchley["enable_field_mapping"] is True


@pytest.mark.parametrize("wrong", [lambda *_: {"scope_config_id": "x"}, lambda *_: 1 / 0])
async def test_options_that_are_none_are_the_hosts_bug(
    wrong: object, sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    app = Starlette()
    KomboEmbed(
        end_user=who_the_header_names,
        link_options=wrong,  # type: ignore[arg-type]
        settings=make_settings(),
        http_transport=kombo,
    ).install(app)
    async with running(app) as client:
        answer = await client.post("/kombo/links", headers=person("ada@acme"), json={})
    assert (answer.status_code, answer.json()["code"]) == (500, "identity_error")
    assert sandbox.calls == {}
