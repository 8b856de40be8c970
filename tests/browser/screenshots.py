"""Takes the screenshots in ``docs/screenshots``: ``make screenshots``.

The demo, Kombo's dialog in it, the sandbox's page, and ``<kombo-integrations>`` with few and with many rows.
"""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from playwright.async_api import Browser, Page, async_playwright, expect

from kombo_embed.sandbox.catalogue import catalogue
from tests.browser.lists import LONG, row, showing
from tests.browser.stage import Demo, Stage, running_demo, running_stage

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
SIZES = {"desktop": {"width": 1280, "height": 768}, "phone": {"width": 390, "height": 780}}
SCHEMES = ("light", "dark")
COUNTS = (0, 1, 30, 500)  # of integrations in a list
ORGANIZATIONS = ("Northwind Coffee", "Northwind Coffee Roasters", LONG)
LARGEST = 120_000  # bytes
FLAGS = ["--no-sandbox", "--disable-gpu", "--font-render-hinting=none"]


async def main() -> None:
    """Take every screenshot, overwriting the existing ones."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    FOLDER.mkdir(exist_ok=True)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        with TemporaryDirectory() as folder:
            async with running_demo(Path(folder)) as demo:
                await connect_tools(demo)
                for size in SIZES:
                    for scheme in SCHEMES:
                        await take_demo(browser, demo, size=size, scheme=scheme)
        with TemporaryDirectory() as folder:
            async with running_stage(Path(folder)) as stage:
                for count in COUNTS:
                    for size in SIZES:
                        for scheme in SCHEMES:
                            await take_list(browser, stage, count=count, size=size, scheme=scheme)
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


async def take_demo(browser: Browser, demo: Demo, *, size: str, scheme: str) -> None:
    async with opened(browser, size=size, scheme=scheme) as page:
        await page.goto(demo.url)
        await page.locator("[data-person=ada]").click()
        await expect(page.get_by_test_id("integration")).to_have_count(3)
        await expect(page.get_by_test_id("event")).not_to_have_count(0)
        await save(page, f"integrations-{size}-{scheme}")
        await page.get_by_test_id("connect").click()
        dialog = page.frame_locator(f"iframe[src^='{demo.sandbox_url}']")
        await expect(dialog.get_by_test_id("tool").first).to_be_visible()
        await save(page, f"dialog-{size}-{scheme}")
        await page.goto(demo.sandbox_url)
        await page.locator("#requests summary").first.click()
        await page.evaluate("scrollTo(0, 0)")
        await save(page, f"sandbox-{size}-{scheme}")


async def take_list(browser: Browser, stage: Stage, *, count: int, size: str, scheme: str) -> None:
    rows = [listed(number, stage.sandbox_url) for number in range(count)]
    async with showing(browser, stage, rows, **options_of(size, scheme)) as visit:
        if count:
            logo = visit.page.locator("img[part=logo]").first
            await expect(logo).to_have_js_property("complete", True)  # noqa: FBT003 - the property's value
        await save(visit.page, f"list-{count}-{size}-{scheme}")


def listed(number: int, sandbox_url: str) -> dict[str, Any]:
    """Return an integration with one of the tools of the sandbox."""
    tools = [tool for tool in catalogue().values() if "HRIS" in tool.categories]
    tool = tools[number * 7 % len(tools)]
    return row(
        number,
        tool=tool.id,
        tool_label=tool.label,
        logo_url=f"{sandbox_url}/assets/tools/{tool.id}.svg",
        organization_name=ORGANIZATIONS[number % len(ORGANIZATIONS)],
    )


@asynccontextmanager
async def opened(browser: Browser, *, size: str, scheme: str) -> AsyncIterator[Page]:
    context = await browser.new_context(**options_of(size, scheme))
    yield await context.new_page()
    await context.close()


def options_of(size: str, scheme: str) -> dict[str, Any]:
    return {
        "viewport": SIZES[size],
        "color_scheme": scheme,
        "device_scale_factor": 2 if size == "phone" else 1.25,
        "reduced_motion": "reduce",
        "has_touch": size == "phone",
    }


async def save(page: Page, name: str) -> None:
    """Write a screenshot as WebP; Chromium converts its own PNG."""
    await page.evaluate("document.activeElement?.blur()")
    shot = await page.screenshot(animations="disabled")
    converter = await page.context.browser.new_page()  # type: ignore[union-attr]  # of a browser
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
