"""Takes the screenshots of the demo in ``docs/screenshots``: ``make screenshots``."""

from __future__ import annotations

import asyncio
import base64
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.browser.stage import Demo, running_demo

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
SIZES = {"desktop": {"width": 1200, "height": 720}, "phone": {"width": 390, "height": 780}}
LARGEST = 120_000  # bytes
FLAGS = ["--no-sandbox", "--disable-gpu", "--font-render-hinting=none"]


async def main() -> None:
    """Take every screenshot, overwriting the existing ones."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        async with async_playwright() as playwright, running_demo(Path(folder)) as demo:
            await connect_tools(demo)
            browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
            for size in SIZES:
                for scheme in ("light", "dark"):
                    await take(browser, demo, name=f"{size}-{scheme}")
            await browser.close()


async def connect_tools(demo: Demo) -> None:
    """Give Ada's organization three tools, each with another next action."""
    async with httpx.AsyncClient(base_url=demo.url) as page:
        await page.post("/sign-in", data={"person": "ada"})
        for tool, change in (
            ("personio", {}),
            ("bamboohr", {"state": "INVALID"}),
            ("workday", {"setup_status": "INCOMPLETE"}),
        ):
            link = (await page.post("/kombo/links", json={})).json()["link"]
            done = await demo.sandbox.complete(link, tool)
            token = {"activation_token": done.activation_token}
            (await page.post("/kombo/completions", json=token)).raise_for_status()
            await demo.sandbox.settle()
            if change:
                changed = {"integration_id": done.integration_id, **change}
                async with httpx.AsyncClient(base_url=demo.sandbox_url) as control:
                    (await control.post("/_sandbox/state-change", json=changed)).raise_for_status()
                await demo.sandbox.settle()


async def take(browser: Browser, demo: Demo, *, name: str) -> None:
    size, scheme = name.split("-")
    context = await browser.new_context(
        viewport=SIZES[size],  # type: ignore[arg-type]  # a ViewportSize by shape
        color_scheme=scheme,  # type: ignore[arg-type]  # one of two
        device_scale_factor=2 if size == "phone" else 1.5,
        reduced_motion="reduce",
        has_touch=size == "phone",
    )
    page = await context.new_page()
    await page.goto(demo.url)
    await page.locator("[data-person=ada]").click()
    await expect(page.get_by_test_id("integration")).to_have_count(3)
    await expect(page.get_by_test_id("event")).not_to_have_count(0)
    await save(page, f"integrations-{name}")
    await page.get_by_test_id("connect").click()
    dialog = page.frame_locator(f"iframe[src^='{demo.sandbox_url}']")
    await expect(dialog.get_by_test_id("tool").first).to_be_visible()
    await save(page, f"dialog-{name}")
    await context.close()


async def save(page: Page, name: str) -> None:
    """Write a screenshot as WebP; Chromium converts its own PNG."""
    await page.evaluate("document.activeElement?.blur()")
    shot = await page.screenshot(animations="disabled")
    converter = await page.context.new_page()
    encoded: str = await converter.evaluate(
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
    await converter.close()
    image = base64.b64decode(encoded)
    if len(image) > LARGEST:
        raise SystemExit(f"{name} has {len(image)} bytes; {LARGEST} are allowed")
    (FOLDER / f"{name}.webp").write_bytes(image)


if __name__ == "__main__":
    asyncio.run(main())
