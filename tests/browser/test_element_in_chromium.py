"""``<kombo-connect-button>`` in a real browser: upgrade, styles, forms, focus, direction."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from tests.browser.stage import Stage, Visit, visiting

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def open_elements(visit: Visit) -> None:
    await visit.page.goto(f"{visit.stage.url}/elements.html")
    await visit.page.evaluate("define().then(() => {})")


def style_of(element: str, name: str) -> str:
    button = f"document.querySelector('{element}').shadowRoot.querySelector('button')"
    return f"getComputedStyle({button}).{name}"


async def test_it_connects_without_submitting_its_form_and_gets_the_focus_back(visit: Visit) -> None:
    await open_elements(visit)
    button = visit.page.get_by_role("button", name="Connect Personio")
    await button.click()
    await expect(button).to_have_attribute("aria-busy", "true")
    await expect(button).to_have_attribute("aria-disabled", "true")
    await visit.finish(tool=None)
    await expect(visit.page.locator("output")).to_have_text("personio")
    await expect(button).to_be_focused()
    await expect(button).to_have_attribute("aria-busy", "false")
    assert visit.page.url.endswith("/elements.html")
    assert await visit.page.evaluate("events") == ["first kombo-connected"]


async def test_properties_set_before_the_class_is_defined_are_kept(visit: Visit) -> None:
    await visit.page.goto(f"{visit.stage.url}/elements.html")
    await expect(visit.page.locator("#third")).to_have_text("Connect anything")
    await visit.page.evaluate("define().then(() => {})")
    await expect(visit.page.locator("#third")).to_have_attribute("tool", "hibob")
    await visit.page.get_by_role("button", name="Connect anything").click()
    await visit.finish(tool=None)
    await expect(visit.page.locator("output")).to_have_text("hibob")


async def test_its_language_and_direction_are_those_of_the_surrounding_page(visit: Visit) -> None:
    await open_elements(visit)
    await expect(visit.page.get_by_role("button", name="HR-Tool verbinden")).to_be_visible()
    assert await visit.page.evaluate(style_of("#second", "direction")) == "rtl"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_its_styles_are_isolated_and_the_page_can_change_them(
    browser: Browser, stage: Stage, scheme: str
) -> None:
    async with visiting(browser, stage, color_scheme=scheme) as visit:
        await open_elements(visit)
        evaluate = visit.page.evaluate
        assert await evaluate(style_of("#first", "backgroundColor")) == "rgb(0, 80, 40)"
        assert await evaluate(style_of("#third", "borderRadius")) == "20px"
        dark_on_light = await evaluate(style_of("#second", "backgroundColor")) == "rgb(0, 0, 0)"
        assert dark_on_light == (scheme == "light")
        await visit.page.get_by_role("button", name="Connect anything").click()
        assert await evaluate(style_of("#third", "letterSpacing")) == "3px"
        await visit.dialog.get_by_test_id("close").click()
        await expect(visit.page.locator("output")).to_have_text("cancelled")
        assert await evaluate(style_of("#third", "letterSpacing")) == "normal"


async def test_a_failure_is_announced_and_can_be_retried(visit: Visit) -> None:
    await open_elements(visit)
    await visit.page.route("**/kombo/links", lambda route: route.abort())
    button = visit.page.get_by_role("button", name="HR-Tool verbinden")
    await button.click()
    message = visit.page.locator("#second").get_by_role("alert")
    await expect(message).to_have_text("Das hat nicht geklappt. Bitte erneut versuchen.")
    await expect(visit.page.locator("output")).to_have_text("network")
    await visit.page.unroute("**/kombo/links")
    await button.click()
    await expect(message).to_be_empty()
    await visit.finish("personio")
    await expect(visit.page.locator("output")).to_have_text("personio")
    visit.console_errors.clear()


async def test_a_flow_completes_although_its_element_was_removed(visit: Visit) -> None:
    await open_elements(visit)
    await visit.page.get_by_role("button", name="Connect Personio").click()
    await expect(visit.page.locator("iframe")).to_have_count(1)
    await visit.page.evaluate("document.querySelector('form').remove()")
    await visit.finish(tool=None)
    await expect(visit.page.locator("output")).to_have_text("personio")
    assert await visit.recorded() == ["personio"]
