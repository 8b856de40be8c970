"""The pytest plugin, as the tests of a host app use it: in a pytest run of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README, PAGE = ROOT / "README.md", ROOT / "docs" / "testing.md"
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
HANDLER_TESTS = """
import asyncio
import threading

import httpx
from kombo_embed import EndUser, KomboEmbed
from starlette.applications import Starlette


def current_end_user(request):
    return EndUser(email="ada@acme.example", organization_name="Acme", origin_id="acme")


def made(kombo, **more):
    app = Starlette()
    settings, transport = kombo.settings, kombo.transport
    embed = KomboEmbed(
        end_user=current_end_user, settings=settings, http_transport=transport, clock=kombo.clock, **more
    )
    embed.install(app)
    return app, embed


async def connect(kombo, app):
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver/kombo") as client:
        link = (await client.post("/links", json={})).json()["link"]
        body = {"activation_token": (await kombo.complete(link)).activation_token}
        assert (await client.post("/completions", json=body)).status_code == 201


async def test_waits_for_threads_and_chains(kombo):
    app, embed = made(kombo)
    calls = []

    @embed.on("integration.connected")
    def slow(event):
        threading.Event().wait(0.3)
        calls.append("slow")
        if calls.count("slow") < 3:
            raise RuntimeError

    @embed.on("integration.connected")
    async def steady(event):
        calls.append("steady")

    async with embed:
        await connect(kombo, app)
        await kombo.settle()
        assert sorted(calls) == ["slow", "steady"]
        for number in (2, 3, 3):
            kombo.clock.advance(4)
            await kombo.settle()
            assert calls.count("slow") == number
    assert calls.count("steady") == 1


async def test_without_handlers_or_an_open_embed_nothing_is_awaited(kombo):
    app, embed = made(kombo)
    made(kombo)
    await kombo.settle()
    async with embed:
        await connect(kombo, app)
        await kombo.settle()
"""


@pytest.mark.integration
def test_the_fixture_works_in_a_hosts_tests_and_in_the_readmes_example(tmp_path: Path) -> None:
    section = README.read_text(encoding="utf-8").partition("## Test your app")[2]
    example = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert example is not None
    for name, text in (("app", APP), ("test_app", TESTS), ("test_readme", example[1])):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    assert "4 passed" in run_pytest(tmp_path)


@pytest.mark.integration
def test_the_tests_on_the_page_about_testing_pass(tmp_path: Path) -> None:
    programs = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert [name for name, _ in programs] == ["app.py", "conftest.py", "test_journeys.py"]
    for name, text in programs:
        (tmp_path / name).write_text(text, encoding="utf-8")
    journeys = programs[-1][1].count("async def test_")
    assert f"{journeys} passed" in run_pytest(tmp_path)


@pytest.mark.integration
@pytest.mark.parametrize("name", ["fastapi", "starlette"])
def test_the_app_and_the_test_of_a_tutorial_work(name: str, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "tutorial" / f"{name}.md").read_text(encoding="utf-8")
    programs = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, re.DOTALL)
    assert [file for file, _ in programs] == ["app.py", "test_app.py"]
    for file, text in programs:
        (tmp_path / file).write_text(text, encoding="utf-8")
    assert "1 passed" in run_pytest(tmp_path)


@pytest.mark.integration
def test_settling_waits_for_slow_handlers_and_their_retries_and_ignores_other_apps(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    (tmp_path / "test_handlers.py").write_text(HANDLER_TESTS, encoding="utf-8")
    assert "2 passed" in run_pytest(tmp_path)


def run_pytest(folder: Path) -> str:
    """Run the tests in a folder, as a host's developer does; return what pytest printed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--asyncio-mode=auto"]
    command += ["-o", "asyncio_default_fixture_loop_scope=function"]
    environment = {**os.environ, "KOMBO_REGION": "us"}
    ran = subprocess.run(  # noqa: S603 - our own command
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return ran.stdout + ran.stderr


def test_loading_the_plugin_imports_no_heavy_package() -> None:
    heavy = {"httpx", "pydantic", "sqlalchemy", "starlette"}
    probe = f"import kombo_embed.testing, sys; print({heavy!r} & set(sys.modules))"
    command = [sys.executable, "-c", probe]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603 - as above
    assert ran.stdout == "set()\n"
