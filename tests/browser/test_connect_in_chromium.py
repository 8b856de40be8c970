"""From a click to a connected tool, with the real SDK in a real Chromium, under a strict content policy."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Route, expect

from tests.browser.stage import Stage, Visit, visiting

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_a_tool_is_connected_and_the_button_gets_the_focus_back(visit: Visit) -> None:
    await visit.open()
    before = visit.stage.minted()
    button = visit.page.get_by_role("button", name="Connect your HR tool")
    await button.click()
    await expect(visit.page.locator("iframe")).to_have_attribute("title", "Connect your HR tool")
    await expect(visit.page.locator("iframe")).to_be_focused()
    await visit.finish()
    await expect(visit.page.locator("output")).to_have_text("connected")
    await expect(visit.page.locator("li")).to_have_text(["personio"])
    await expect(visit.page.locator("iframe")).to_have_count(0)
    await expect(button).to_be_focused()
    assert await visit.recorded() == ["personio"]
    assert visit.stage.minted() == before + 1


async def test_no_link_is_minted_before_the_click(visit: Visit) -> None:
    before = visit.stage.minted()
    await visit.open()
    await expect(visit.page.locator("li")).to_have_count(0)
    assert visit.stage.minted() == before


async def test_closing_the_dialog_cancels_the_flow(visit: Visit) -> None:
    await visit.open()
    await visit.page.locator("#connect").click()
    await visit.dialog.get_by_test_id("close").click()
    await expect(visit.page.locator("output")).to_have_text("cancelled")
    await expect(visit.page.locator("#connect")).to_be_focused()
    assert await visit.recorded() == []


async def test_wrong_credentials_can_be_corrected_in_the_same_dialog(visit: Visit) -> None:
    await visit.open()
    before = visit.stage.minted()
    await visit.page.locator("#connect").click()
    await visit.choose("hibob")
    await visit.dialog.get_by_test_id("credentials").fill("wrong")
    await visit.dialog.get_by_test_id("fail").click()
    await expect(visit.dialog.get_by_role("alert")).not_to_be_empty()
    await visit.finish(tool=None)
    await expect(visit.page.locator("output")).to_have_text("connected")
    assert visit.stage.minted() == before + 1


async def test_a_link_that_expired_at_kombo_is_replaced(visit: Visit) -> None:
    await visit.open()
    await visit.page.locator("#connect").click()
    await visit.dialog.get_by_test_id("close").click()
    visit.stage.sandbox.clock.advance(3600)  # expired at Kombo; not by the backend's clock
    await visit.page.locator("#connect").click()
    await expect(visit.dialog.get_by_role("heading")).to_have_text("This link has expired")
    await visit.dialog.get_by_test_id("close").click()
    await visit.connect()
    await expect(visit.page.locator("output")).to_have_text("connected")


async def test_a_double_click_mints_one_link_and_opens_one_dialog(visit: Visit) -> None:
    await visit.open()
    before = visit.stage.minted()
    await visit.page.locator("#connect").dblclick()
    await visit.page.evaluate("void kombo.connect()")
    await expect(visit.dialog.get_by_test_id("tool").first).to_be_visible()
    await expect(visit.page.locator("iframe")).to_have_count(1)
    assert visit.stage.minted() == before + 1
    await visit.dialog.get_by_test_id("close").click()


async def test_an_integration_is_reconnected_and_keeps_its_id(visit: Visit) -> None:
    await visit.open()
    await visit.connect()
    await expect(visit.page.locator("output")).to_have_text("connected")
    before = await visit.page.evaluate("kombo.listIntegrations()")
    await visit.page.evaluate("([one]) => void run(kombo.reconnect(one.id))", before)
    await visit.finish(tool=None)
    await expect(visit.page.locator("iframe")).to_have_count(0)
    await expect(visit.page.locator("output")).to_have_text("connected")
    after = await visit.page.evaluate("kombo.listIntegrations()")
    assert [one["id"] for one in after] == [one["id"] for one in before]
    assert await visit.recorded() == ["personio"]


async def test_a_connected_tool_is_offered_for_reconnection(visit: Visit) -> None:
    await visit.open()
    await visit.connect()
    await expect(visit.page.locator("output")).to_have_text("connected")
    await visit.page.evaluate(
        "run(kombo.connect({ tool: 'personio' })).then((result) => (window.result = result))"
    )
    await expect(visit.page.locator("output")).to_have_text("already_connected")
    await expect(visit.page.locator("iframe")).to_have_count(0)
    await visit.page.evaluate("void run(result.reconnect())")
    await visit.finish(tool=None)
    await expect(visit.page.locator("output")).to_have_text("connected")
    assert await visit.recorded() == ["personio"]
    visit.console_errors.clear()  # the browser logs the 409


async def test_the_dialog_works_inside_a_focus_trap(visit: Visit) -> None:
    await visit.open()
    await visit.page.evaluate(
        """() => {
          const trap = document.createElement("div");
          trap.id = "trap";
          trap.append(document.querySelector("#connect"));
          document.body.append(trap);
          document.addEventListener("focusin", ({ target }) => {
            if (!trap.contains(target)) trap.querySelector("button").focus();
          });
          window.options = { container: trap };
        }"""
    )
    await visit.connect("hibob")
    await expect(visit.page.locator("output")).to_have_text("connected")
    await expect(visit.page.locator("#connect")).to_be_focused()


async def test_the_dialog_opens_inside_the_modal_of_its_button(visit: Visit) -> None:
    await visit.open()
    await visit.page.evaluate(
        """() => {
          const modal = document.createElement("dialog");
          modal.append(document.querySelector("#connect"));
          document.body.append(modal);
          modal.showModal();
        }"""
    )
    await visit.page.locator("#connect").click()
    await expect(visit.page.locator("dialog > iframe")).to_be_focused()
    await visit.page.locator("#connect").focus()
    await visit.page.keyboard.press("Escape")  # closes the topmost dialog only
    await expect(visit.page.locator("output")).to_have_text("cancelled")
    await expect(visit.page.locator("dialog[open]")).to_have_count(1)
    await visit.connect()
    await expect(visit.page.locator("output")).to_have_text("connected")


async def test_a_dialog_that_never_loads_can_be_closed(visit: Visit) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    await visit.page.clock.install()
    await visit.open()
    await visit.page.route(f"{visit.stage.sandbox_url}/connect*", hold)
    await visit.page.locator("#connect").click()
    await expect(visit.page.locator("iframe")).to_have_count(1)
    await visit.page.clock.run_for(10_000)
    close = visit.page.get_by_role("alertdialog").get_by_role("button", name="Close")
    await expect(close).to_be_focused()
    await close.click()
    await expect(visit.page.locator("output")).to_have_text("dialog_timeout")
    await expect(visit.page.locator("#connect")).to_be_focused()
    for route in held:
        await route.abort()


async def test_a_content_policy_that_blocks_the_dialog_is_reported(
    visit: Visit,
) -> None:
    await visit.open("host.html?unframed")
    await visit.page.locator("#connect").click()
    await expect(visit.page.locator("output")).to_have_text("dialog_blocked")
    await expect(visit.page.locator("iframe")).to_have_count(0)
    assert all("frame-src" in error for error in visit.console_errors)
    visit.console_errors.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_is_visible_behind_the_dialog(browser: Browser, stage: Stage, scheme: str) -> None:
    async with visiting(browser, stage, color_scheme=scheme) as visit:
        await visit.open()
        await visit.page.evaluate("document.body.style.background = 'rgb(0 160 0)'")
        await visit.page.locator("#connect").click()
        await expect(visit.dialog.get_by_test_id("tool").first).to_be_visible()
        red, green, blue = await colour_at(visit, 4, 4)
        assert green > red + 20
        assert green > blue + 20
        await visit.dialog.get_by_test_id("close").click()


async def colour_at(visit: Visit, x: int, y: int) -> tuple[int, int, int]:
    """Return the colour of a pixel of a screenshot, which includes what is behind a frame."""
    clip = {"x": x, "y": y, "width": 1, "height": 1}
    shot = await visit.page.screenshot(clip=clip)  # type: ignore[arg-type]  # a FloatRect by shape
    canvas = await visit.context.new_page()
    await canvas.goto("about:blank")
    red, green, blue, _ = await canvas.evaluate(
        """async (bytes) => {
          const image = await createImageBitmap(new Blob([new Uint8Array(bytes)]));
          const context = new OffscreenCanvas(1, 1).getContext("2d");
          context.drawImage(image, 0, 0);
          return [...context.getImageData(0, 0, 1, 1).data];
        }""",
        list(shot),
    )
    await canvas.close()
    return red, green, blue


async def test_on_a_phone_in_landscape_the_form_can_be_scrolled_to_its_button(visit: Visit) -> None:
    await visit.page.set_viewport_size({"width": 740, "height": 360})
    await visit.open()
    await visit.page.get_by_role("button", name="Connect your HR tool").click()
    await visit.choose("hibob")
    finish = visit.dialog.get_by_test_id("finish")
    await expect(finish).not_to_be_in_viewport()
    await visit.page.mouse.move(370, 180)
    await visit.page.mouse.wheel(0, 1000)
    await expect(finish).to_be_in_viewport(ratio=1)
