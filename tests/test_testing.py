"""The pytest plugin, as the tests of a host app use it: in a pytest run of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
APP = """
from fastapi import FastAPI

from kombo_embed import EndUser, KomboEmbed


def current_end_user(request):
    return EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")


def make_app(**collaborators):
    app = FastAPI()
    embed = KomboEmbed(end_user=current_end_user, **collaborators)
    embed.install(app)
    return app
"""
TESTS = """
import asyncio

import httpx
import pytest
from app import make_app
from kombo_embed.sandbox.errors import SandboxError


def made(kombo, **settings):
    return make_app(
        settings=kombo.settings.model_copy(update=settings), http_transport=kombo.transport, clock=kombo.clock
    )


def browser(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver/kombo")


def test_connects_a_tool_by_browser_and_webhook(kombo):
    async def walk():
        app = made(kombo)
        kombo.deliver_webhooks_to(app)
        async with browser(app) as client:
            link = (await client.post("/links", json={})).json()["link"]
            flow = await kombo.complete(link, tool="hibob", order="webhook_first", duplicate=True)
            assert flow.integration_id.startswith("hibob:")
            body = {"activation_token": flow.activation_token}
            assert (await client.post("/completions", json=body)).status_code == 200
            assert len((await client.get("/integrations")).json()["integrations"]) == 1

    asyncio.run(walk())
    kombo.assert_minted_once()


def test_advances_the_clock_past_a_links_hour(kombo):
    async def walk():
        async with browser(made(kombo)) as client:
            link = (await client.post("/links", json={})).json()["link"]
            kombo.clock.advance(3600)
            with pytest.raises(SandboxError):
                await kombo.complete(link)
            assert (await client.post("/links", json={})).json()["link"] != link
            await kombo.fail((await client.post("/links", json={})).json()["link"])

    asyncio.run(walk())
    assert kombo.calls["POST /v1/connect/create-link"] == 2
    with pytest.raises(pytest.fail.Exception, match="minted 2 connection links, not 1"):
        kombo.assert_minted_once()


def test_starts_empty_and_ignores_the_developers_settings(kombo):
    assert kombo.calls == {}
    assert kombo.settings.region == "eu"
"""


def test_the_fixture_works_in_a_hosts_tests_and_in_the_readmes_example(tmp_path: Path) -> None:
    section = README.read_text(encoding="utf-8").partition("## Test your app")[2]
    example = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert example is not None
    for name, text in (("app", APP), ("test_app", TESTS), ("test_readme", example[1])):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--asyncio-mode=auto"]
    command += ["-o", "asyncio_default_fixture_loop_scope=function"]
    environment = {**os.environ, "KOMBO_REGION": "us"}
    ran = subprocess.run(  # noqa: S603 - our own command
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert "4 passed" in ran.stdout, ran.stdout + ran.stderr


def test_loading_the_plugin_imports_no_heavy_package() -> None:
    heavy = {"httpx", "pydantic", "sqlalchemy", "starlette"}
    probe = f"import kombo_embed.testing, sys; print({heavy!r} & set(sys.modules))"
    command = [sys.executable, "-c", probe]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603 - as above
    assert ran.stdout == "set()\n"
