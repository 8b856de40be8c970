"""The examples with a browser half of their own, each started as its README describes, in Chromium."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import pytest
from playwright.async_api import Browser, FrameLocator, Page, expect
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from kombo_embed.sandbox import Sandbox
from tests.browser.stage import leave
from tests.support import API_KEY, WEBHOOK_SECRET, served

pytestmark = [pytest.mark.integration, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

ROOT = Path(__file__).parents[2]
SPA = ROOT / "examples" / "react_spa"


@asynccontextmanager
async def sandbox_for_examples(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sandbox]:
    """Start the local sandbox, and set the environment variables that the examples read."""
    sandbox = Sandbox(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET)
    async with served(sandbox.app) as url:
        monkeypatch.setenv("KOMBO_API_KEY", API_KEY)
        monkeypatch.setenv("KOMBO_API_URL", f"{url}/v1")
        monkeypatch.setenv("KOMBO_WEBHOOK_SECRET", WEBHOOK_SECRET)
        yield sandbox
        await sandbox.aclose()


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@asynccontextmanager
async def new_page(browser: Browser) -> AsyncIterator[Page]:
    """Open a page; errors in its console fail the test."""
    context = await browser.new_context()
    page = await context.new_page()
    console_errors: list[str] = []
    page.on("pageerror", lambda error: console_errors.append(str(error)))
    page.on("console", lambda line: console_errors.append(line.text) if line.type == "error" else None)
    yield page
    await context.close()
    assert console_errors == []


async def finish(dialog: FrameLocator, tool: str | None = None) -> None:
    if tool is not None:
        await dialog.locator(f"[data-testid=tool][data-tool={tool}]").click()
    await dialog.get_by_test_id("credentials").fill("anything")
    await dialog.get_by_test_id("finish").click()
    await leave(dialog)


async def test_the_plain_page_connects_with_a_custom_element(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sandbox_for_examples(monkeypatch) as sandbox:
        app = load(ROOT / "examples" / "plain_html" / "app.py").app
        async with served(app) as url, new_page(browser) as page:
            sandbox.webhook_url = f"{url}/kombo/webhooks"
            await page.goto(url)
            await page.get_by_role("button", name="Sign in as Ada").click()
            button = page.get_by_role("button", name="Connect Personio")
            await button.click()
            dialog = page.frame_locator("iframe")
            await expect(button).to_have_attribute("aria-busy", "true")
            await finish(dialog)  # with the tool preset
            await expect(page.get_by_role("status")).to_have_text("personio is connected.")
            await expect(button).to_be_focused()
            await page.get_by_role("button", name="Connect your HR tool").click()
            await finish(dialog, "hibob")
            await expect(page.get_by_role("status")).to_have_text("hibob is connected.")
            await expect(page.locator("li")).to_have_text(["personio", "hibob"])
            await sandbox.settle()


async def test_the_react_page_connects_from_another_origin_with_a_bearer_token(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pages = tmp_path / "dist"
    pages.mkdir()
    async with sandbox_for_examples(monkeypatch) as sandbox, served(files(pages)) as origin:
        monkeypatch.setenv("KOMBO_ALLOWED_ORIGINS", origin)
        monkeypatch.setenv("KOMBO_ALLOW_DISCONNECT", "true")
        backend = load(SPA / "backend.py")
        async with served(backend.app) as api, new_page(browser) as page:
            sandbox.webhook_url = f"{api}/kombo/webhooks"
            await build_spa(pages, api)
            sent: list[str] = []
            page.on("request", lambda request: sent.append(request.headers.get("authorization", "")))
            await page.goto(f"{origin}/index.html")
            await page.get_by_role("button", name="Connect your HR tool").dblclick()
            await finish(page.frame_locator("iframe"), "personio")
            await expect(page.get_by_role("status")).to_have_text("personio is connected.")
            [token] = backend.tokens
            assert f"Bearer {token}" in sent
            # The first token expires, for both sides; the page requests another one.
            backend.tokens[token] = time.monotonic() - 1
            await page.clock.install()
            await page.clock.fast_forward(60_000)
            await page.get_by_role("button", name="Reconnect").click()
            await finish(page.frame_locator("iframe"))
            await expect(page.locator("iframe")).to_have_count(0)
            await expect(page.get_by_role("status")).to_have_text("personio is connected.")
            assert len(backend.tokens) == 2
            page.once("dialog", lambda question: question.accept())
            await page.get_by_role("button", name="Disconnect").click()
            await expect(page.get_by_text("Nothing is connected.")).to_be_visible()
            assert sandbox.report()["integrations"] == []
            assert sandbox.calls["POST /v1/connect/create-link"] == 1
            assert await page.context.cookies() == []
            await sandbox.settle()


def files(folder: Path) -> Starlette:
    """Serve the pages from another origin than the backend's, as single-page apps often are."""
    return Starlette(routes=[Mount("/", StaticFiles(directory=folder))])


async def build_spa(target: Path, api: str) -> None:
    node = shutil.which("node")
    vite = SPA / "node_modules" / "vite" / "bin" / "vite.js"
    if node is None or not vite.exists():
        missing = "the example's npm packages are not installed; `make test-integrations` installs them"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    build = await asyncio.create_subprocess_exec(
        *(node, str(vite), "build", "--outDir", str(target), "--emptyOutDir", "--logLevel", "error"),
        cwd=SPA,
        env={**os.environ, "VITE_API_URL": api},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(120):
        output, _ = await build.communicate()
    assert build.returncode == 0, output.decode()
