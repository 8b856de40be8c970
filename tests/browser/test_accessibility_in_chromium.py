"""Accessibility: axe reports no violation, and the keyboard alone is enough."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.async_api import Browser, Frame, FrameLocator, Page, expect

from tests.browser.stage import Demo, Stage, visiting

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

AXE = Path(__file__).parents[2] / "frontend_snippet" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SCHEMES = pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.integration)])


async def violations(place: Page | Frame) -> list[str]:
    """Return what axe reports of a page, or of the page in a frame."""
    await place.evaluate(axe())
    reported: list[str] = await place.evaluate(
        """async (values) => {
          const found = await axe.run({ runOnly: { type: "tag", values }, iframes: false });
          return found.violations.flatMap(({ id, nodes }) =>
            nodes.map(({ target, any }) => `${id}: ${target} ${any[0]?.message ?? ""}`));
        }""",
        RULES,
    )
    return reported


def axe() -> str:
    if not AXE.exists():
        missing = "axe-core is not installed; `make test` installs it"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return AXE.read_text(encoding="utf-8")


async def settled_dialog(page: Page, dialog: FrameLocator) -> Frame:
    """Return the page in the dialog, after its animations."""
    frame = await (await page.locator("iframe").element_handle()).content_frame()
    assert frame is not None
    await expect(dialog.get_by_role("heading")).to_be_visible()
    await frame.evaluate("Promise.all(document.getAnimations().map((animation) => animation.finish()))")
    return frame


@SCHEMES
async def test_axe_reports_no_violation_on_the_demo_and_on_the_connect_page(
    browser: Browser, demo: Demo, scheme: str
) -> None:
    context = await browser.new_context(color_scheme=scheme, reduced_motion="reduce", bypass_csp=True)  # type: ignore[arg-type]  # one of two
    page = await context.new_page()
    dialog = page.frame_locator("iframe")
    await page.goto(demo.url)
    assert await violations(page) == []
    await page.locator("[data-person=ada]" if scheme == "light" else "[data-person=margaret]").click()
    await expect(page.locator("#empty")).to_be_visible()
    assert await violations(page) == []
    await page.get_by_test_id("connect").click()
    assert await violations(await settled_dialog(page, dialog)) == []  # the list of tools
    await dialog.locator("[data-testid=tool][data-tool=personio]").click()
    await dialog.get_by_test_id("credentials").fill("wrong")
    await dialog.get_by_test_id("fail").click()
    await expect(dialog.get_by_role("alert")).not_to_be_empty()
    assert await violations(await settled_dialog(page, dialog)) == []  # the form, with an error
    assert await violations(page) == []  # the page behind it
    await dialog.get_by_test_id("credentials").fill("right")
    await dialog.get_by_test_id("finish").click()
    await expect(page.get_by_test_id("integration")).to_have_count(1)
    await expect(page.get_by_test_id("notice")).to_be_visible()
    await expect(page.get_by_test_id("event").first).to_be_visible()
    assert await violations(page) == []  # a tool, a notice and an event
    await context.close()


@SCHEMES
async def test_axe_reports_no_violation_on_the_element(browser: Browser, stage: Stage, scheme: str) -> None:
    async with visiting(browser, stage, color_scheme=scheme, bypass_csp=True) as visit:
        await visit.page.goto(f"{stage.url}/elements.html")
        await visit.page.evaluate("define().then(() => {})")
        assert await violations(visit.page) == []
        await visit.page.get_by_role("button", name="Connect Personio").click()
        await expect(visit.page.locator("iframe")).to_be_focused()
        assert await violations(visit.page) == []  # busy
        await visit.dialog.get_by_test_id("close").click()
        await visit.page.route("**/kombo/links", lambda route: route.abort())
        await visit.page.get_by_role("button", name="Connect Personio").click()
        await expect(visit.page.locator("#first").get_by_role("alert")).not_to_be_empty()
        assert await violations(visit.page) == []  # failed
        visit.console_errors.clear()


async def test_a_tool_can_be_connected_by_keyboard_alone(browser: Browser, demo: Demo) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    dialog = page.frame_locator("iframe")
    press, write = page.keyboard.press, page.keyboard.type
    await page.goto(demo.url)
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
