"""Makes the pictures of the demo in ``docs/screenshots``: ``make screenshots``."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from playwright.async_api import Browser, Page, async_playwright, expect

from kombo_embed.demo import create_app
from kombo_embed.sandbox import Sandbox
from tests.support import API_KEY, WEBHOOK_SECRET, make_settings, served

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
SIZES = {"desktop": {"width": 1200, "height": 720}, "phone": {"width": 390, "height": 780}}
LARGEST = 120_000  # bytes
FLAGS = ["--no-sandbox", "--disable-gpu", "--font-render-hinting=none"]


async def main() -> None:
    """Take every picture, over the ones that are there."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    FOLDER.mkdir(exist_ok=True)
    async with async_playwright() as playwright, demo() as (url, sandbox_url):
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        for size in SIZES:
            for scheme in ("light", "dark"):
                await take(browser, url, sandbox_url, name=f"{size}-{scheme}")
        await browser.close()


@asynccontextmanager
async def demo() -> AsyncIterator[tuple[str, str]]:
    """The demo and its sandbox, with a customer that has three tools."""
    sandbox = Sandbox(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET)
    with TemporaryDirectory() as folder:
        async with served(sandbox.app) as sandbox_url:
            settings = make_settings(
                api_url=f"{sandbox_url}/v1", database_url=f"sqlite+aiosqlite:///{folder}/demo.db"
            )
            app = create_app(settings, session_secret="made-up", sandbox_url=sandbox_url)
            async with served(app) as url:
                sandbox.webhook_url = f"{url}/kombo/webhooks"
                await fill(sandbox, url, sandbox_url)
                yield url, sandbox_url
            await sandbox.aclose()


async def fill(sandbox: Sandbox, url: str, sandbox_url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as page, httpx.AsyncClient(base_url=sandbox_url) as control:
        await page.post("/sign-in", data={"person": "ada"})
        for tool, change in (
            ("personio", {}),
            ("bamboohr", {"state": "INVALID"}),
            ("workday", {"setup_status": "INCOMPLETE"}),
        ):
            link = (await page.post("/kombo/links", json={})).json()["link"]
            done = await sandbox.complete(link, tool)
            token = {"activation_token": done.activation_token}
            (await page.post("/kombo/completions", json=token)).raise_for_status()
            await sandbox.settle()
            if change:
                told = {"integration_id": done.integration_id, **change}
                (await control.post("/_sandbox/state-change", json=told)).raise_for_status()
                await sandbox.settle()


async def take(browser: Browser, url: str, sandbox_url: str, *, name: str) -> None:
    size, scheme = name.split("-")
    context = await browser.new_context(
        viewport=SIZES[size],  # type: ignore[arg-type]  # a ViewportSize by shape
        color_scheme=scheme,  # type: ignore[arg-type]  # one of two
        device_scale_factor=2 if size == "phone" else 1.5,
        reduced_motion="reduce",
        has_touch=size == "phone",
    )
    page = await context.new_page()
    await page.goto(url)
    await page.locator("[data-person=ada]").click()
    await expect(page.get_by_test_id("integration")).to_have_count(3)
    await expect(page.get_by_test_id("event")).not_to_have_count(0)
    await keep(page, f"integrations-{name}")
    await page.get_by_test_id("connect").click()
    dialog = page.frame_locator(f"iframe[src^='{sandbox_url}']")
    await expect(dialog.get_by_test_id("tool").first).to_be_visible()
    await keep(page, f"dialog-{name}")
    await context.close()


async def keep(page: Page, name: str) -> None:
    """Write what is to be seen as WebP, which Chromium makes of its own PNG."""
    await page.evaluate("document.activeElement?.blur()")
    shot = await page.screenshot(animations="disabled")
    painter = await page.context.new_page()
    encoded: str = await painter.evaluate(
        """async (png) => {
          const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
          const canvas = new OffscreenCanvas(image.width, image.height);
          canvas.getContext("2d").drawImage(image, 0, 0);
          const blob = await canvas.convertToBlob({ type: "image/webp", quality: 0.9 });
          const bytes = new Uint8Array(await blob.arrayBuffer());
          return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
        }""",
        base64.b64encode(shot).decode(),
    )
    await painter.close()
    picture = base64.b64decode(encoded)
    if len(picture) > LARGEST:
        raise SystemExit(f"{name} has {len(picture)} bytes; {LARGEST} are the most")
    (FOLDER / f"{name}.webp").write_bytes(picture)


if __name__ == "__main__":
    asyncio.run(main())
