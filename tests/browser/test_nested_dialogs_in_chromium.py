"""Kombo's dialog above a dialog of the host: it covers the window, gets clicks and keys, and closes alone."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.stage import PAGES, Stage, Visit, visiting

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

HOSTS = Path(__file__).parent / "hosts"
FRONTEND = Path(__file__).parents[2] / "frontend_snippet"
# Each of these once made Kombo's frame too small, or one that cannot be clicked.
STYLES = {
    "a transformed body": "document.body.style.transform = 'translateX(40px) scale(.8)'",
    "a body without pointer events": "document.body.style.pointerEvents = 'none'",
    "a clipped, filtered container": (
        "Object.assign(document.querySelector('#outer').style,"
        " { transform: 'scale(.5)', filter: 'blur(0)', overflow: 'hidden', contain: 'strict' })"
    ),
    "an inert page": "document.querySelectorAll('body > :not(script)').forEach((one) => (one.inert = true))",
}


async def covers_the_window(page: Page) -> bool:
    box = await page.locator("iframe").bounding_box()
    size = await page.evaluate("[innerWidth, innerHeight]")
    return box is not None and [box["x"], box["y"], box["width"], box["height"]] == [0, 0, *size]


async def finish_flow(visit: Visit) -> None:
    """Connect with real clicks and keys in Kombo's dialog, without leaving it to the host's."""
    await expect(visit.dialog.get_by_test_id("credentials")).to_be_visible()
    assert await covers_the_window(visit.page)
    await expect(visit.page.locator("iframe")).to_be_focused()
    await visit.dialog.get_by_test_id("credentials").click()
    await visit.page.keyboard.type("anything")
    await expect(visit.dialog.get_by_test_id("credentials")).to_have_value("anything")
    await visit.dialog.get_by_test_id("finish").click()
    await visit.dialog.get_by_role("button", name="Done").click()
    await expect(visit.page.locator("iframe")).to_have_count(0)
    await expect(visit.page.get_by_text("✓ Personio is connected")).to_be_visible()
    assert await visit.recorded() == ["personio"]


async def test_inside_a_modal_dialog_and_its_transformed_page(visit: Visit) -> None:
    await visit.page.goto(f"{visit.stage.url}/nested.html")
    await visit.page.evaluate("document.body.style.transform = 'scale(.9)'; modal.showModal()")
    button = visit.page.get_by_role("button", name="Connect Personio")
    await button.click()
    await finish_flow(visit)
    await expect(visit.page.locator("#modal")).to_have_attribute("open", "")
    await expect(button).to_be_focused()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("container", ["undefined", "document.querySelector('#outer')"])
async def test_in_a_page_that_changes_everything(visit: Visit, style: str, container: str) -> None:
    await visit.page.goto(f"{visit.stage.url}/nested.html")
    if style == "an inert page" and container != "undefined":
        pytest.skip("a container of the page's that is inert cannot contain a dialog")
    await visit.page.evaluate(
        f"""document.querySelector('kombo-connect-button').options = {{ container: {container} }};
        modal.show(); {STYLES[style]}"""
    )
    await visit.page.evaluate("void document.querySelector('kombo-connect-button').connect()")
    await finish_flow(visit)


async def test_escape_closes_the_topmost_dialog_only(visit: Visit) -> None:
    await visit.page.goto(f"{visit.stage.url}/nested.html")
    await visit.page.evaluate("modal.showModal()")
    await visit.page.get_by_role("button", name="Connect Personio").click()
    await expect(visit.dialog.get_by_test_id("credentials")).to_be_visible()
    await visit.page.evaluate("document.querySelector('dialog:has(> iframe)').focus()")
    await visit.page.keyboard.press("Escape")
    await expect(visit.page.locator("iframe")).to_have_count(0)
    await expect(visit.page.locator("#modal")).to_have_attribute("open", "")


@pytest.fixture(scope="module")
def bundle() -> str:
    """The page of the libraries, built with esbuild."""
    esbuild = FRONTEND / "node_modules" / ".bin" / "esbuild"
    if not (HOSTS / "node_modules").exists() or not esbuild.exists():
        missing = "the hosts' npm packages are not installed; `make test-integrations` installs them"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return str(esbuild)


@pytest.mark.integration
@pytest.mark.parametrize("host", ["radix", "mui", "headless"])
async def test_inside_a_dialog_of_a_library(browser: Browser, stage: Stage, bundle: str, host: str) -> None:
    build = await asyncio.create_subprocess_exec(
        *(bundle, "hosts.jsx", "--bundle", "--format=esm", "--log-level=error"),
        *(f"--outfile={stage.built}/hosts.js", '--define:process.env.NODE_ENV="production"'),
        cwd=HOSTS,
    )
    assert await build.wait() == 0
    head = (PAGES / "nested.html").read_text(encoding="utf-8").partition("<body>")[0]
    body = '<body><div id="root"></div><script type="module" src="hosts.js"></script></body></html>'
    (stage.built / "hosts.html").write_text(head + body, encoding="utf-8")
    async with visiting(browser, stage) as visit:
        await visit.page.goto(f"{stage.url}/built/hosts.html?host={host}")
        await visit.page.get_by_role("button", name="Connect Personio").click()
        await finish_flow(visit)
        await expect(visit.page.locator("output")).to_have_text("open")
        await visit.page.get_by_label("A field of the host").click()
        await visit.page.keyboard.press("Escape")
        await expect(visit.page.locator("output")).to_have_text("closed")
