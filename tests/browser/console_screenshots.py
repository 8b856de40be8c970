"""Takes the screenshots of the console in ``docs/screenshots``; ``make screenshots`` runs it, too."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from playwright.async_api import Browser, async_playwright

from tests.browser.screenshots import FLAGS, SIZES, save
from tests.browser.test_console_in_chromium import Host, running_host
from tests.support import person, webhook_request

CUSTOMERS = (
    *("acme", "northwind", "globex", "initech", "umbrella", "hooli", "stark", "wayne", "wonka", "tyrell"),
    *("cyberdyne", "soylent"),
)
TOOLS = ("personio", "bamboohr", "workday", "hibob")
PAGES = {"overview": "/", "customers": "/customers", "customer": "/customer?id=acme", "events": "/events"}


async def main() -> None:
    """Take every screenshot, overwriting the existing ones."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with TemporaryDirectory() as folder:
        async with async_playwright() as playwright, running_host(Path(folder)) as host:
            await fill(host)
            browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
            for size in SIZES:
                for scheme in ("light", "dark"):
                    await take(browser, host, name=f"{size}-{scheme}")
            await browser.close()


async def fill(host: Host) -> None:
    """Connect some customers, let some break, fail or give up."""
    host.works = True
    for number, customer in enumerate(CUSTOMERS):
        state = "INVALID" if number % 4 == 0 else None
        await host.connect(customer, tool=TOOLS[number % len(TOOLS)], state=state)
    async with httpx.AsyncClient(base_url=host.url) as client:
        for number, customer in enumerate(("vandelay", "pied-piper", "gringotts")):
            await client.post("/kombo/links", headers=person(f"ada@{customer}"), json={})
            failed = {"integration_tool": "workday", "end_user": {"origin_id": customer}}
            event = webhook_request(f"f{number}", "connection-flow-failed", failed)
            await client.post("/kombo/webhooks", **event)
    await (await host.embed.services()).counting.run_once()


async def take(browser: Browser, host: Host, *, name: str) -> None:
    size, scheme = name.split("-")
    context = await browser.new_context(
        base_url=host.url,
        viewport=SIZES[size],  # type: ignore[arg-type]  # a ViewportSize by shape
        color_scheme=scheme,  # type: ignore[arg-type]  # one of two
        device_scale_factor=2 if size == "phone" else 1.5,
        reduced_motion="reduce",
    )
    page = await context.new_page()
    for title, path in PAGES.items():
        await page.goto(f"/admin/kombo{path}")
        await save(page, f"console-{title}-{name}")
    await context.close()


if __name__ == "__main__":
    asyncio.run(main())
