"""The page or the network is lost between the end of the flow and the backend's response."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, Route, expect

from tests.browser.stage import Stage, Visit, visiting
from tests.support import eventually

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PENDING = "sessionStorage.getItem('kombo-embed.pending')"


@pytest.fixture
def without_webhooks(stage: Stage) -> Iterator[None]:
    """Send the backend no webhooks."""
    stage.sandbox.webhook_url, webhooks = None, stage.sandbox.webhook_url
    yield
    stage.sandbox.webhook_url = webhooks


async def lose_completions(visit: Visit) -> list[str]:
    """Abort the browser's completions; return the list to which each attempt is added."""
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
    visit.console_errors.clear()  # the browser logs the aborted requests


@pytest.mark.usefixtures("without_webhooks")
async def test_a_token_that_was_not_posted_is_posted_by_the_next_page(visit: Visit) -> None:
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
    visit.console_errors.clear()


async def test_a_token_is_posted_again_when_the_network_is_back(visit: Visit) -> None:
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
    visit.console_errors.clear()


@pytest.mark.usefixtures("without_webhooks")
async def test_a_page_that_is_left_between_two_attempts_still_posts_its_token(visit: Visit) -> None:
    await visit.open()
    attempts = await lose_completions(visit)
    await visit.connect()
    await eventually(lambda: len(attempts) > 0)
    await visit.page.unroute("**/kombo/completions")
    await visit.page.goto("about:blank")  # leaving makes the last attempt at once
    assert await visit.until_recorded() == ["personio"]
    visit.console_errors.clear()


async def test_a_page_restored_from_the_back_forward_cache_continues(browser: Browser, stage: Stage) -> None:
    async with visiting(browser, stage) as visit:
        await visit.open()
        await visit.page.evaluate(
            "addEventListener('pageshow', ({ persisted }) => (window.persisted = persisted))"
        )
        await visit.page.goto(f"{stage.url}/other.html")
        # Meanwhile a colleague connects a tool.
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
