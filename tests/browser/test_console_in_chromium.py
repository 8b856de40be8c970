"""A person of the support team in a real browser: finds, understands, repairs; by keyboard, on a phone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from kombo_embed import Event, KomboEmbed
from kombo_embed.sandbox import Sandbox
from tests.browser.test_accessibility_in_chromium import violations
from tests.support import API_KEY, WEBHOOK_SECRET, change_state, make_host, person, served

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]
PAGES = ("/", "/customers", "/customer?id=acme", "/events", "/webhooks", "/health")


@dataclass
class Host:
    """A host app whose handler fails until ``works``, and its console."""

    url: str
    sandbox: Sandbox
    embed: KomboEmbed
    works: bool = False

    async def connect(self, organization: str, *, tool: str = "personio", state: str | None = None) -> None:
        ada = person(f"ada@{organization}")
        async with httpx.AsyncClient(base_url=self.url) as client:
            link = (await client.post("/kombo/links", headers=ada, json={})).json()["link"]
            flow = await self.sandbox.complete(link, tool)
            token = {"activation_token": flow.activation_token}
            await client.post("/kombo/completions", headers=ada, json=token)
        await self.sandbox.settle()
        if state is not None:
            await change_state(self.sandbox, flow.integration_id, state)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def host(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Host]:
    folder = tmp_path_factory.mktemp("console")
    async with running_host(folder) as host:
        await host.connect("acme", state="INVALID")
        await host.connect("other")
        await (await host.embed.services()).counting.run_once()
        yield host


@asynccontextmanager
async def running_host(folder: Path) -> AsyncIterator[Host]:
    sandbox = Sandbox(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(sandbox.aclose)
        url = f"sqlite+aiosqlite:///{folder}/console.db"
        app, embed = make_host(httpx.ASGITransport(sandbox.app), database_url=url)
        host = Host("", sandbox, embed)

        @embed.on("integration.connected", name="app.start_first_sync")
        async def start_first_sync(_event: Event) -> None:
            if not host.works:
                raise RuntimeError

        app.mount("/admin/kombo", embed.console(authorize=lambda _request, _action: "Sam"))
        host.url = await stack.enter_async_context(served(app))
        sandbox.webhook_url = f"{host.url}/kombo/webhooks"
        yield host


@asynccontextmanager
async def opened(browser: Browser, host: Host, path: str, **options: Any) -> AsyncIterator[Page]:
    context = await browser.new_context(base_url=host.url, reduced_motion="reduce", **options)
    page = await context.new_page()
    errors: list[str] = []
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.goto(f"/admin/kombo{path}")
    yield page
    await context.close()
    assert errors == []


async def test_from_a_name_to_a_repaired_integration_and_a_delivered_event(
    browser: Browser, host: Host
) -> None:
    async with opened(browser, host, "/") as page:
        await page.get_by_role("link", name="Customers", exact=True).click()
        await page.get_by_role("searchbox").fill("acm")
        await page.get_by_role("button", name="Search").click()
        assert "acm" not in page.url
        await page.get_by_role("link", name="Acme").click()
        await expect(page.get_by_text("Reconnect it: the tool does not accept")).to_be_visible()
        await expect(page.get_by_text("Broken since")).to_be_visible()
        await page.get_by_role("button", name="Create reconnect link for Personio").click()
        link = await page.get_by_label("The link").input_value()
        assert link not in page.url
        await host.sandbox.complete(link)
        await host.sandbox.settle()
        await page.get_by_role("link", name="Done").click()
        await expect(page.locator(".integration").get_by_text("Healthy")).to_be_visible()
        await expect(page.get_by_text("by Sam")).to_be_visible()

        await page.get_by_role("link", name="Events", exact=True).click()
        await page.get_by_role("link", name="Not delivered").click()
        await page.get_by_role("row", name="Acme").get_by_role("link", name="integration.connected").click()
        await expect(page.get_by_role("row", name="app.start_first_sync")).to_contain_text("RuntimeError")
        host.works = True
        await page.get_by_role("button", name="Replay").click()
        await expect(page.get_by_role("status")).to_contain_text("due now")
        # The page updates itself.
        await expect(page.get_by_role("row", name="app.start_first_sync")).to_contain_text("Delivered")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_reports_no_violation_on_any_page(browser: Browser, host: Host, scheme: str) -> None:
    for viewport in ({"width": 1280, "height": 900}, {"width": 390, "height": 844}):
        options: dict[str, Any] = {"color_scheme": scheme, "bypass_csp": True, "viewport": viewport}
        async with opened(browser, host, "/", **options) as page:
            for path in PAGES:
                await page.goto(f"/admin/kombo{path}")
                assert await violations(page) == [], path
            await page.goto("/admin/kombo/events")
            await page.locator("tbody th a").first.click()
            assert await violations(page) == []


async def test_nothing_is_wider_than_a_phone(browser: Browser, host: Host) -> None:
    async with opened(browser, host, "/", viewport={"width": 390, "height": 844}) as page:
        for path in PAGES:
            await page.goto(f"/admin/kombo{path}")
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


async def test_the_keyboard_alone_finds_a_customer_and_mints_a_link(browser: Browser, host: Host) -> None:
    async with opened(browser, host, "/customers") as page:
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await page.keyboard.type("oth")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("link", name="Other")).to_be_visible()
        await page.get_by_role("link", name="Other").focus()
        await page.keyboard.press("Enter")
        button = page.get_by_role("button", name="Create magic link")
        await button.focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_label("The link")).not_to_have_value("")
        await expect(page.get_by_role("heading", name="Magic link")).to_be_visible()


async def test_the_pages_work_without_javascript(browser: Browser, host: Host) -> None:
    async with opened(browser, host, "/customers", java_script_enabled=False) as page:
        await page.get_by_role("searchbox").fill("acme")
        await page.get_by_role("button", name="Search").click()
        await page.get_by_role("link", name="Acme").click()
        await page.get_by_role("button", name="Create magic link").click()
        await expect(page.get_by_label("The link")).to_be_visible()
        await expect(page.get_by_role("button", name="Copy")).to_be_hidden()


async def test_no_other_page_can_frame_the_console(browser: Browser, host: Host) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    await page.set_content(f'<iframe src="{host.url}/admin/kombo/customers"></iframe>')
    [_, frame] = page.frames
    assert "Customers" not in await frame.content()
    await context.close()
