"""The page goes away, or the network does, between the end of the flow and the backend's answer."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Playwright, Route, async_playwright, expect

from tests.browser.stage import Stage, Visit, visiting
from tests.conftest import CHROMIUM_FLAGS
from tests.support import eventually

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

PENDING = "sessionStorage.getItem('kombo-embed.pending')"


@pytest.fixture
def without_webhooks(stage: Stage) -> Iterator[None]:
    """Kombo tells the backend nothing by itself."""
    stage.sandbox.webhook_url, webhooks = None, stage.sandbox.webhook_url
    yield
    stage.sandbox.webhook_url = webhooks


async def lose_completions(visit: Visit) -> list[str]:
    """No activation token gets out; gives the list that each attempt is added to."""
    attempts: list[str] = []

    async def lose(route: Route) -> None:
        attempts.append(route.request.method)
        await route.abort()

    await visit.page.route("**/kombo/completions", lose)
    return attempts


async def test_a_tab_closed_before_the_token_is_posted_is_recorded_by_webhook(visit: Visit) -> None:
    await visit.open()
    attempts = await lose_completions(visit)
    await visit.connect()
    await eventually(lambda: len(attempts) > 0)
    await visit.page.close()
    await visit.stage.sandbox.settle()
    assert await visit.recorded() == ["personio"]
    visit.troubles.clear()  # the lost requests, which the browser itself writes down


@pytest.mark.usefixtures("without_webhooks")
async def test_a_token_that_did_not_get_out_is_posted_by_the_next_page(visit: Visit) -> None:
    await visit.open()
    attempts = await lose_completions(visit)
    await visit.connect()
    await eventually(lambda: len(attempts) > 0)
    assert "activationToken" in await visit.page.evaluate(PENDING)
    assert await visit.recorded() == []
    await visit.page.unroute("**/kombo/completions")
    await visit.page.reload()
    await expect(visit.page.locator("li")).to_have_text(["personio"])
    await visit.until("sessionStorage.length === 0")
    assert await visit.recorded() == ["personio"]
    visit.troubles.clear()


async def test_the_network_goes_while_the_token_is_posted_and_comes_back(visit: Visit) -> None:
    await visit.open()
    offline: list[bool] = []

    async def go_offline(route: Route) -> None:
        if not offline:
            await visit.context.set_offline(True)
            offline.append(True)
        await route.abort()

    await visit.page.route("**/kombo/completions", go_offline)
    await visit.connect()
    await eventually(lambda: bool(offline))
    await visit.until("navigator.onLine === false")
    await visit.page.unroute("**/kombo/completions")
    exchanged = visit.stage.exchanged()
    await visit.context.set_offline(False)
    await expect(visit.page.locator("output")).to_have_text("connected")
    assert visit.stage.exchanged() == exchanged + 1
    assert await visit.page.evaluate(PENDING) is None
    visit.troubles.clear()


@pytest.mark.usefixtures("without_webhooks")
async def test_a_page_left_while_its_token_is_posted_still_gets_it_out(visit: Visit) -> None:
    await visit.open()
    attempts = await lose_completions(visit)
    await visit.connect()
    await eventually(lambda: len(attempts) > 0)
    await visit.page.unroute("**/kombo/completions")
    await visit.page.goto("about:blank")  # between two attempts: the last one is made at once
    assert await visit.recorded_at_last() == ["personio"]
    visit.troubles.clear()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keeping_browser(browser: Browser) -> AsyncIterator[Browser]:
    """A Chromium that keeps pages for the way back, which Playwright's usual flags forbid."""
    del browser  # it has found Chromium, or skipped this test
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    playwright: Playwright
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(
            executable_path=executable,
            args=CHROMIUM_FLAGS,
            ignore_default_args=["--disable-back-forward-cache"],
        )
        yield launched
        await launched.close()


async def test_a_page_that_comes_back_from_the_cache_goes_on(keeping_browser: Browser, stage: Stage) -> None:
    async with visiting(keeping_browser, stage) as visit:
        await visit.open()
        await visit.page.evaluate(
            "addEventListener('pageshow', ({ persisted }) => (window.persisted = persisted))"
        )
        await visit.page.goto(f"{stage.url}/other.html")
        # A colleague connects a tool meanwhile.
        link = await visit.page.evaluate(
            """async () => (await (await fetch("/kombo/links", {
              method: "POST", headers: { "Content-Type": "application/json" }, body: "{}",
            })).json()).link"""
        )
        await stage.sandbox.complete(link, "hibob")
        await stage.sandbox.settle()
        await visit.page.go_back(wait_until="commit")
        await visit.until("window.persisted === true")
        await expect(visit.page.locator("li")).to_have_text(["hibob"])
        await visit.connect()
        await expect(visit.page.locator("output")).to_have_text("connected")
