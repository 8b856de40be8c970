"""Everybody can connect a tool: axe finds nothing, and the keyboard alone is enough."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Frame, FrameLocator, Page, expect

from kombo_embed.demo import create_app
from kombo_embed.sandbox import Sandbox
from tests.browser.stage import Stage, visiting
from tests.support import API_KEY, WEBHOOK_SECRET, make_settings, served

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

AXE = Path(__file__).parents[2] / "frontend_snippet" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])


async def findings(place: Page | Frame) -> list[str]:
    """What axe has to say of a page, or of the page in a frame."""
    await place.evaluate(axe())
    found: list[str] = await place.evaluate(
        """async (values) => {
          const found = await axe.run({ runOnly: { type: "tag", values }, iframes: false });
          return found.violations.flatMap(({ id, nodes }) =>
            nodes.map(({ target, any }) => `${id}: ${target} ${any[0]?.message ?? ""}`));
        }""",
        RULES,
    )
    return found


def axe() -> str:
    if not AXE.exists():
        missing = "axe-core is not installed; `make test` installs it"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return AXE.read_text(encoding="utf-8")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def demo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Where the demo is."""
    folder = tmp_path_factory.mktemp("demo")
    sandbox = Sandbox(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET)
    async with served(sandbox.app) as sandbox_url:
        settings = make_settings(
            api_url=f"{sandbox_url}/v1", database_url=f"sqlite+aiosqlite:///{folder / 'demo.db'}"
        )
        app = create_app(settings, session_secret="made-up", sandbox_url=sandbox_url)
        async with served(app) as url:
            sandbox.webhook_url = f"{url}/kombo/webhooks"
            yield url
            await sandbox.settle()
        await sandbox.aclose()


async def still(page: Page, dialog: FrameLocator) -> Frame:
    """The page in the dialog, once nothing in it moves any more."""
    frame = await (await page.locator("iframe").element_handle()).content_frame()
    assert frame is not None
    await expect(dialog.get_by_role("heading")).to_be_visible()
    await frame.evaluate("Promise.all(document.getAnimations().map((animation) => animation.finish()))")
    return frame


@SCHEMES
async def test_axe_finds_nothing_on_the_demo_and_on_kombos_page(
    browser: Browser, demo: str, scheme: str
) -> None:
    context = await browser.new_context(color_scheme=scheme, reduced_motion="reduce", bypass_csp=True)  # type: ignore[arg-type]  # one of two
    page = await context.new_page()
    dialog = page.frame_locator("iframe")
    await page.goto(demo)
    assert await findings(page) == []
    await page.locator("[data-person=ada]" if scheme == "light" else "[data-person=margaret]").click()
    await expect(page.locator("#empty")).to_be_visible()
    assert await findings(page) == []
    await page.get_by_test_id("connect").click()
    assert await findings(await still(page, dialog)) == []  # the list of tools
    await dialog.locator("[data-testid=tool][data-tool=personio]").click()
    await dialog.get_by_test_id("credentials").fill("wrong")
    await dialog.get_by_test_id("fail").click()
    await expect(dialog.get_by_role("alert")).not_to_be_empty()
    assert await findings(await still(page, dialog)) == []  # the form, with something to correct
    assert await findings(page) == []  # the page behind it
    await dialog.get_by_test_id("credentials").fill("right")
    await dialog.get_by_test_id("finish").click()
    await expect(page.get_by_test_id("integration")).to_have_count(1)
    await expect(page.get_by_test_id("notice")).to_be_visible()
    await expect(page.get_by_test_id("event").first).to_be_visible()
    assert await findings(page) == []  # a tool, a notice and what happened
    await context.close()


@SCHEMES
async def test_axe_finds_nothing_on_the_element(browser: Browser, stage: Stage, scheme: str) -> None:
    async with visiting(browser, stage, color_scheme=scheme, bypass_csp=True) as visit:
        await visit.page.goto(f"{stage.url}/elements.html")
        await visit.page.evaluate("define().then(() => {})")
        assert await findings(visit.page) == []
        await visit.page.get_by_role("button", name="Connect Personio").click()
        await expect(visit.page.locator("iframe")).to_be_focused()
        assert await findings(visit.page) == []  # busy
        await visit.dialog.get_by_test_id("close").click()
        await visit.page.route("**/kombo/links", lambda route: route.abort())
        await visit.page.get_by_role("button", name="Connect Personio").click()
        await expect(visit.page.locator("#first").get_by_role("alert")).not_to_be_empty()
        assert await findings(visit.page) == []  # failed
        visit.troubles.clear()


async def test_the_keyboard_alone_is_enough(browser: Browser, demo: str) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    dialog = page.frame_locator("iframe")
    press, write = page.keyboard.press, page.keyboard.type
    await page.goto(demo)
    await press("Tab")
    await press("Tab")
    await expect(page.locator("[data-person=grace]")).to_be_focused()
    await press("Enter")
    connect = page.get_by_test_id("connect")
    await expect(connect).to_be_enabled()
    for _ in range(3):  # the brand, signing out, the button
        await press("Tab")
    await expect(connect).to_be_focused()
    await press("Enter")
    await expect(dialog.locator("#search")).to_be_focused()
    await press("Escape")
    await expect(page.locator("iframe")).to_have_count(0)
    await expect(connect).to_be_focused()
    await press("Space")
    await expect(dialog.locator("#search")).to_be_focused()
    await write("workday")
    await press("ArrowDown")
    await press("Enter")
    await expect(dialog.get_by_test_id("credentials")).to_be_focused()
    await write("anything")
    await press("Enter")
    await expect(page.locator("[data-testid=integration][data-tool=workday]")).to_be_visible()
    await expect(page.locator("iframe")).to_have_count(0)
    await expect(connect).to_be_focused()
    await context.close()
