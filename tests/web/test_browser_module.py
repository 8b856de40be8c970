"""The browser module, and entity tags."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx
import pytest

import kombo_embed
from kombo_embed.web.app import create_app
from tests.support import make_host, running

STATIC = Path(kombo_embed.__file__).parent / "web" / "static"
MODULES = pytest.mark.parametrize("name", ["kombo-embed.js", "kombo-integrations.js"])


@MODULES
async def test_a_built_module_is_served_with_an_entity_tag(
    kombo: httpx.AsyncBaseTransport, name: str
) -> None:
    assert (STATIC / name).exists(), "the browser modules are not built: run make build"
    app, _ = make_host(kombo)
    async with running(app) as client:
        served = await client.get(f"/kombo/{name}")
        assert served.status_code == 200
        assert served.content == (STATIC / name).read_bytes()
        assert served.headers["content-type"] == "text/javascript; charset=utf-8"
        tag = served.headers["etag"]
        for matching in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = await client.get(f"/kombo/{name}", headers={"If-None-Match": matching})
            assert (again.status_code, again.content) == (304, b"")
        other = await client.get(f"/kombo/{name}", headers={"If-None-Match": '"other"'})
        assert other.status_code == 200


@MODULES
async def test_without_the_modules_the_problem_names_the_remedy(
    kombo: httpx.AsyncBaseTransport, name: str
) -> None:
    _, embed = make_host(kombo)
    async with embed:
        app = create_app(replace(await embed.services(), browser_modules={}))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app.example") as client:
            missing = await client.get(f"/{name}")
    assert missing.status_code == 404
    assert "npm" in missing.json()["detail"]


async def test_the_list_of_integrations_has_an_entity_tag(kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo)
    ada = {"X-Person": "ada@acme"}
    async with running(app) as client:
        first = await client.get("/kombo/integrations", headers=ada)
        again = await client.get(
            "/kombo/integrations", headers=ada | {"If-None-Match": first.headers["etag"]}
        )
        assert (again.status_code, again.content) == (304, b"")
