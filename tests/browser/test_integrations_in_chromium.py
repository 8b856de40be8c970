"""``<kombo-integrations>`` in a real browser: with the real backend, and in every state of a list."""

from __future__ import annotations

import httpx
import pytest
from playwright.async_api import Browser, expect

from kombo_embed.sandbox.catalogue import catalogue
from tests.browser.lists import LONG, PAGE, row, showing
from tests.browser.stage import Stage, Visit, visiting
from tests.browser.test_accessibility_in_chromium import SCHEMES, violations

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SIZES = pytest.mark.parametrize("width", [390, 1280])


async def connect(visit: Visit, tool: str) -> str:
    """Connect a tool without the page; return Kombo's id of the integration."""
    async with httpx.AsyncClient(base_url=visit.stage.url) as client:
        client.cookies.set("organization", visit.organization)
        link = (await client.post("/kombo/links", json={})).json()["link"]
        done = await visit.stage.sandbox.complete(link, tool)
        token = {"activation_token": done.activation_token}
        (await client.post("/kombo/completions", json=token)).raise_for_status()
    await visit.stage.sandbox.settle()
    return done.integration_id


async def change(visit: Visit, integration_id: str, **changes: str) -> None:
    async with httpx.AsyncClient(base_url=visit.stage.sandbox_url) as control:
        body = {"integration_id": integration_id, **changes}
        (await control.post("/_sandbox/state-change", json=body)).raise_for_status()
    await visit.stage.sandbox.settle()


async def test_a_broken_integration_is_reconnected_from_its_row(visit: Visit) -> None:
    integration_id = await connect(visit, "personio")
    await change(visit, integration_id, state="INVALID")
    await visit.open(PAGE)
    await expect(visit.page.get_by_test_id("attention")).to_have_text("1 needs attention")
    button = visit.page.get_by_test_id("reconnect")
    await button.click()
    await expect(button).to_have_attribute("aria-disabled", "true")
    await visit.finish(tool=None)
    await expect(visit.page.locator("output")).to_have_text("connected: personio")
    await expect(button).to_be_hidden()
    await expect(visit.page.get_by_test_id("attention")).to_be_hidden()


async def test_a_flow_that_is_not_possible_is_reported_in_its_row(visit: Visit) -> None:
    integration_id = await connect(visit, "workday")
    await change(visit, integration_id, setup_status="INCOMPLETE")
    await visit.open(PAGE)
    await visit.page.get_by_test_id("finish-setup").click()  # the link had no setup step
    await expect(visit.page.get_by_test_id("integration").get_by_role("alert")).to_have_text(
        "This does not work at the moment. Please contact support."
    )
    await expect(visit.page.locator("output")).to_have_text("failed: setup_not_available")
    visit.console_errors.clear()  # the browser logs the 409


async def test_a_tool_is_disconnected_by_keyboard_alone_after_a_confirmation(visit: Visit) -> None:
    for tool in ("personio", "hibob"):
        await connect(visit, tool)
    await visit.open(PAGE)
    rows, press = visit.page.get_by_test_id("integration"), visit.page.keyboard.press
    await expect(rows).to_have_count(2)
    menu = visit.page.locator("[data-tool=hibob]").get_by_test_id("row-menu")
    await menu.focus()
    await press("Enter")
    await expect(visit.page.get_by_role("menuitem", name="Details")).to_be_focused()
    await press("Escape")
    await expect(visit.page.get_by_role("menu")).to_be_hidden()
    await expect(menu).to_be_focused()
    await press("Enter")
    await press("End")
    await press("Enter")
    dialog = visit.page.get_by_role("alertdialog", name="Disconnect Hibob?")
    await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    await press("Escape")
    await expect(dialog).to_be_hidden()
    await expect(menu).to_be_focused()
    assert await visit.recorded() == ["personio", "hibob"]
    for key in ("Enter", "End", "Enter", "Tab", "Enter"):
        await press(key)
    await expect(rows).to_have_count(1)
    await expect(visit.page.locator("output")).to_have_text("disconnected: hibob")
    await expect(visit.page.locator("[data-tool=personio]").get_by_test_id("row-menu")).to_be_focused()
    await expect(visit.page.get_by_role("status").filter(has_text="Hibob was disconnected.")).to_have_count(1)
    assert await visit.recorded() == ["personio"]


async def test_a_failed_disconnection_is_reported_in_the_question(visit: Visit) -> None:
    await connect(visit, "personio")
    await visit.open(PAGE)
    await visit.page.get_by_test_id("row-menu").click()
    await visit.page.get_by_test_id("disconnect").click()
    await visit.page.route("**/kombo/integrations/*", lambda route: route.abort())
    await visit.page.get_by_test_id("confirm-disconnect").click()
    dialog = visit.page.get_by_role("alertdialog")
    await expect(dialog.get_by_role("alert")).to_have_text("That did not work. Please try again.")
    await visit.page.unroute("**/kombo/integrations/*")
    await visit.page.get_by_test_id("confirm-disconnect").click()
    await expect(visit.page.get_by_test_id("integration")).to_have_count(0)
    visit.console_errors.clear()


async def test_a_click_outside_closes_the_menu(browser: Browser, stage: Stage) -> None:
    async with showing(browser, stage, [row(number) for number in range(5)]) as visit:
        buttons, menu = visit.page.get_by_test_id("row-menu"), visit.page.get_by_role("menu")
        for number in (0, 4):  # the second click closes the first menu
            await buttons.nth(number).click()
            await expect(menu).to_be_visible()
            await expect(visit.page.locator("[aria-expanded=true]")).to_have_count(1)
        await visit.page.mouse.click(5, 5)
        await expect(menu).to_be_hidden()
        await expect(visit.page.locator("[aria-expanded=true]")).to_have_count(0)


async def test_it_reports_that_the_browser_is_offline(browser: Browser, stage: Stage) -> None:
    async with showing(browser, stage, [row(0)]) as visit:
        await visit.context.set_offline(True)
        await expect(visit.page.get_by_role("status").filter(has_text="You are offline.")).to_be_visible()
        await expect(visit.page.get_by_test_id("integration")).to_have_count(1)
        await visit.context.set_offline(False)
        await expect(visit.page.get_by_text("You are offline.")).to_be_hidden()
        visit.console_errors.clear()


async def test_a_list_that_cannot_be_loaded_can_be_tried_again(visit: Visit) -> None:
    await connect(visit, "personio")
    await visit.page.route("**/kombo/integrations*", lambda route: route.abort())
    await visit.open(PAGE)
    await expect(visit.page.get_by_role("alert").filter(has_text="cannot be updated")).to_be_visible()
    await visit.page.unroute("**/kombo/integrations*")
    await visit.page.get_by_role("button", name="Try again").click()
    await expect(visit.page.get_by_test_id("integration")).to_have_count(1)
    visit.console_errors.clear()


@SIZES
@pytest.mark.parametrize("count", [0, 1, 30, pytest.param(500, marks=pytest.mark.integration)])
async def test_nothing_is_wider_than_the_window(
    browser: Browser, stage: Stage, width: int, count: int
) -> None:
    rows = [row(number, tool_label=LONG if number == 1 else f"Tool {number}") for number in range(count)]
    async with showing(browser, stage, rows, viewport={"width": width, "height": 780}) as visit:
        if count:
            await visit.page.get_by_test_id("row-menu").first.click()
            await visit.page.get_by_test_id("details").click()
            await expect(visit.page.get_by_text("Reference")).to_be_visible()
        assert await visit.page.evaluate("document.documentElement.scrollWidth") <= width
        await expect(visit.page.get_by_test_id("search")).to_be_visible(visible=count >= 8)


async def test_without_a_logo_each_tool_has_the_colour_and_the_initials_of_its_tile_in_the_sandbox(
    browser: Browser, stage: Stage
) -> None:
    tools = list(catalogue().values())
    rows = [row(number, tool=tool.id, tool_label=tool.label) for number, tool in enumerate(tools)]
    async with showing(browser, stage, rows) as visit:
        shown = await visit.page.get_by_test_id("integration").evaluate_all(
            """(rows) => rows.map((row) => {
              const tile = row.querySelector("[part=logo]");
              return [row.dataset.tool, tile.textContent, getComputedStyle(tile).backgroundColor];
            })"""
        )
    expected = [
        (tool.id, tool.initials, f"rgb{tuple(bytes.fromhex(tool.colour.removeprefix('#')))}")
        for tool in tools
    ]
    assert sorted(map(tuple, shown)) == sorted(expected)
    assert ("payfitcustomer", "PC") in {(tool, letters) for tool, letters, _ in expected}


async def test_the_pages_colours_apply_under_whatever_names_the_page_has_for_them(
    browser: Browser, stage: Stage
) -> None:
    names = ("muted", "line", "surface", "accent", "good", "good-surface", "warn", "warn-surface", "danger")
    async with showing(browser, stage, [row(0), row(1)]) as visit:
        await visit.page.locator("kombo-integrations").evaluate(
            """({ style }, names) => names.forEach((name, index) => {
              style.setProperty(`--${name}`, `rgb(${index}, 0, 99)`);
              style.setProperty(`--kombo-${name}`, `var(--${name})`);
            })""",
            names,
        )
        for selector, attribute, name in (
            ("[part=meta]", "color", "muted"),
            ("[part=action]:visible", "border-top-color", "line"),
            ("[part=status][data-tone=good]", "color", "good"),
            ("[part=status][data-tone=good]", "background-color", "good-surface"),
            ("[part=status][data-tone=warn]", "background-color", "warn-surface"),
        ):
            styled = visit.page.locator(selector).first
            await expect(styled).to_have_css(attribute, f"rgb({names.index(name)}, 0, 99)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_in_forced_colours_the_question_can_be_read(
    browser: Browser, stage: Stage, scheme: str
) -> None:
    options = {"color_scheme": scheme, "forced_colors": "active"}
    async with showing(browser, stage, [row(0)], **options) as visit:
        await visit.page.get_by_test_id("row-menu").click()
        await visit.page.get_by_test_id("disconnect").click()
        for button in await visit.page.get_by_role("alertdialog").get_by_role("button").all():
            text, ground = await button.evaluate(
                "(one) => [getComputedStyle(one).color, getComputedStyle(one).backgroundColor]"
            )
            assert text != ground


@SIZES
async def test_every_button_is_large_enough_to_touch(browser: Browser, stage: Stage, width: int) -> None:
    rows = [row(number) for number in range(8)]
    async with showing(browser, stage, rows, viewport={"width": width, "height": 780}) as visit:
        for button in await visit.page.get_by_role("button").all():
            box = await button.bounding_box()
            assert box is not None
            assert min(box["width"], box["height"]) >= 44


@SCHEMES
async def test_axe_reports_no_violation_in_any_state(browser: Browser, stage: Stage, scheme: str) -> None:
    rows = [row(number) for number in range(8)]
    options = {"color_scheme": scheme, "bypass_csp": True, "reduced_motion": "reduce"}
    async with showing(browser, stage, rows, **options) as visit:
        page = visit.page
        assert await violations(page) == []  # every next action, and the search
        await page.get_by_test_id("row-menu").first.click()
        assert await violations(page) == []  # the menu
        await page.get_by_test_id("details").click()
        assert await violations(page) == []  # details
        await page.get_by_test_id("row-menu").first.click()
        await page.get_by_test_id("disconnect").click()
        assert await violations(page) == []  # the question
        await page.keyboard.press("Escape")
        await page.get_by_test_id("search").fill("nothing like this")
        assert await violations(page) == []  # nothing found
    async with visiting(browser, stage, **options) as visit:
        await visit.page.route("**/kombo/integrations*", lambda route: route.abort())
        await visit.open(PAGE)
        await expect(visit.page.get_by_role("alert").first).to_be_visible()
        assert await violations(visit.page) == []  # an error
        visit.console_errors.clear()
    async with showing(browser, stage, [], **options) as visit:
        assert await violations(visit.page) == []  # an empty list
