"""What pages tell end users: how an integration really is, and what to do, in their language."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

from kombo_embed import errors
from kombo_embed.web.problems import STATUSES
from tests.browser.stage import Stage, running_stage, visiting
from tests.support import order_fault

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

LIST = "integrations.html"
DETAILS = "/v1/integrations/{integration_id}"
TECHNICAL = re.compile(r"kombo|\blog\b|reach|database|application|server|\bapi\b|backend|code", re.IGNORECASE)
# How the texts end: to try again, to contact support.
TEXTS = {
    "en": ("Please try again.", "Please contact support."),
    "de": ("Bitte erneut versuchen.", "Bitte den Support kontaktieren."),
    "fr": ("Réessayez.", "Contactez le support."),
    "it": ("Riprova.", "Contatta l\N{RIGHT SINGLE QUOTATION MARK}assistenza."),
    "es": ("Inténtelo de nuevo.", "Contacte con el soporte."),
}
# `make test` tries one of them; the tests of the module try every code in each.
LANGUAGES = pytest.mark.parametrize(
    "language", ["de", *(pytest.param(one, marks=pytest.mark.integration) for one in TEXTS if one != "de")]
)
# The host refuses in its own words; the button asks to sign in, or offers to reconnect.
BY_HOST_OR_OTHERWISE = {errors.Forbidden, errors.AlreadyConnected}
SHOW_BUTTON = """language => {
  document.documentElement.lang = language;
  document.body.append(document.createElement("kombo-connect-button"));
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """Start a stage whose links lead to a setup step."""
    folder: Path = tmp_path_factory.mktemp("stage")
    async with running_stage(folder, enable_filtering=True) as stage:
        yield stage


async def row_of(page: Page) -> str:
    return await page.get_by_test_id("integration").inner_text()


@pytest.mark.integration
async def test_who_closes_the_tab_before_the_setup_sees_that_it_is_unfinished(
    browser: Browser, stage: Stage
) -> None:
    await order_fault(stage.sandbox, DETAILS, "html_503", times=1000)
    async with visiting(browser, stage) as visit:
        await visit.open()
        await visit.page.get_by_role("button", name="Connect your HR tool").click()
        await visit.choose("workday")
        await visit.dialog.get_by_test_id("credentials").fill("anything")
        await visit.dialog.get_by_test_id("finish").click()
        await visit.until_recorded()  # by the webhook
        await visit.page.close()  # before Kombo's page gives the host's one a token
        page = visit.page = await visit.context.new_page()
        await visit.open(LIST)
        await expect(page.get_by_text("Checking setup")).to_be_visible()
        assert "Connected" not in await row_of(page)
        async with httpx.AsyncClient(base_url=stage.sandbox_url) as control:
            (await control.delete("/_sandbox/faults")).raise_for_status()
        # Its details are read without anybody's doing.
        await expect(page.get_by_text("Setup unfinished")).to_be_visible()
        await expect(page.get_by_test_id("finish-setup")).to_have_text("Finish setup")
        assert "Connected" not in await row_of(page)


@LANGUAGES
async def test_a_button_says_what_to_do_after_each_failure_in_the_language_of_the_page(
    language: str, browser: Browser, stage: Stage
) -> None:
    problem: dict[str, object] = {}

    async def fail(route: Route) -> None:
        status = problem["status"]
        assert isinstance(status, int)
        await route.fulfill(json=problem, status=status, content_type="application/problem+json")

    async with visiting(browser, stage) as visit:
        await visit.open("host.html")
        await visit.page.evaluate(SHOW_BUTTON, language)
        await visit.page.route("**/kombo/links", fail)
        button = visit.page.get_by_role("button").last
        for error, status in STATUSES.items():
            problem |= {
                "code": error.code,
                "status": status,
                "title": "Kombo",
                "detail": "the log of the API",
            }
            if status == 401 or error in BY_HOST_OR_OTHERWISE:
                continue
            await button.click()
            message = visit.page.get_by_role("alert")
            await expect(message).not_to_be_empty()
            text = await message.inner_text()
            assert any(known in text for known in TEXTS[language]), (error.code, text)
            assert TECHNICAL.search(text) is None
        visit.console_errors.clear()  # the browser logs the failed requests


@LANGUAGES
async def test_what_only_support_can_repair_says_so_in_the_language_of_the_page(
    language: str, browser: Browser, stage: Stage
) -> None:
    row = {"id": "1", "tool": "personio", "status": "INACTIVE", "next_action": "enable"}
    row |= {"connected_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"}
    async with visiting(browser, stage, locale=language) as visit:
        body = {"integrations": [row], "next_cursor": None, "actions": []}
        await visit.page.route("**/kombo/integrations*", lambda route: route.fulfill(json=body))
        await visit.open(LIST)
        await visit.page.evaluate(
            "language => (document.querySelector('kombo-integrations').language = language)", language
        )
        await expect(visit.page.get_by_text(TEXTS[language][1])).to_be_visible()
        for action in ("reconnect", "finish-setup"):
            await expect(visit.page.get_by_test_id(action)).to_have_count(0)
