"""The examples for Next.js and Vue, built as their users build them, in Chromium."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Page, expect
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from tests.browser.test_examples_in_chromium import finish, load, new_page, sandbox_for_examples
from tests.support import free_port, served

pytestmark = [pytest.mark.integration, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

EXAMPLES = Path(__file__).parents[2] / "examples"
BUILD_SECONDS = 300


async def copy_example(name: str, tmp_path: Path) -> Path:
    """Copy an example with its npm packages, because a build writes into its folder."""
    if not (EXAMPLES / name / "node_modules" / "kombo-embed").exists():
        missing = "the example's npm packages are not installed; `make test-integrations` installs them"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    target = tmp_path / name
    await asyncio.to_thread(shutil.copytree, EXAMPLES / name, target, symlinks=True)
    return target


async def npm_run(folder: Path, script: str, **environment: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *("npm", "run", "--silent", script),
        cwd=folder,
        env={**os.environ, "NEXT_TELEMETRY_DISABLED": "1", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(BUILD_SECONDS):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


@asynccontextmanager
async def started(folder: Path) -> AsyncIterator[str]:
    """Run ``next start`` on a free port."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *("node", "node_modules/next/dist/bin/next", "start", "--port", str(port)),
        cwd=folder,
        stdout=asyncio.subprocess.DEVNULL,
    )
    url = f"http://localhost:{port}"
    try:
        async with asyncio.timeout(60), httpx.AsyncClient() as client:
            while True:
                with suppress(httpx.TransportError):
                    await client.get(url)
                    break
                await asyncio.sleep(0.1)  # it has no event to wait for
        yield url
    finally:
        process.terminate()
        await process.wait()


async def connect_and_disconnect(page: Page) -> None:
    """Connect a tool with the page's button, and disconnect it in its list."""
    await expect(page.get_by_text("Nothing is connected yet.")).to_be_visible()
    await page.get_by_role("button", name="Connect a tool").click()
    await finish(page.frame_locator("iframe"), "personio")
    row = page.get_by_test_id("integration")
    await expect(row).to_have_attribute("data-tool", "personio")
    await row.get_by_test_id("row-menu").click()
    await page.get_by_test_id("disconnect").click()
    await page.get_by_test_id("confirm-disconnect").click()
    await expect(page.get_by_text("Nothing is connected yet.")).to_be_visible()


async def test_the_vue_page(browser: Browser, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = await copy_example("vue", tmp_path)
    await npm_run(folder, "build")
    monkeypatch.setenv("KOMBO_ALLOW_DISCONNECT", "true")
    async with sandbox_for_examples(monkeypatch) as sandbox:
        app = load(EXAMPLES / "nextjs" / "backend.py").app
        app.routes.append(Mount("/", StaticFiles(directory=folder / "dist", html=True)))
        async with served(app) as url, new_page(browser) as page:
            sandbox.webhook_url = f"{url}/kombo/webhooks"
            await page.goto(f"{url}/sign-in")
            await connect_and_disconnect(page)
            await expect(page.locator("output")).to_have_text("personio is disconnected.")
            await sandbox.settle()


@pytest.mark.parametrize("script", ["build", "build:webpack"])
async def test_the_next_page(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    folder = await copy_example("nextjs", tmp_path)
    monkeypatch.setenv("KOMBO_ALLOW_DISCONNECT", "true")
    async with sandbox_for_examples(monkeypatch) as sandbox:
        app = load(EXAMPLES / "nextjs" / "backend.py").app
        async with served(app) as backend:
            sandbox.webhook_url = f"{backend}/kombo/webhooks"
            await npm_run(folder, script, BACKEND_URL=backend)
            async with started(folder) as url, new_page(browser) as page:
                await page.goto(f"{url}/sign-in")
                await connect_and_disconnect(page)
                await expect(page.locator("output")).to_have_text("Connected.")
            await sandbox.settle()
