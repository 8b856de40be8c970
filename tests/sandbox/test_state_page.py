"""The sandbox's page in a real browser: what happened, and what happens next."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from kombo_embed.sandbox import Sandbox
from tests.browser.test_accessibility_in_chromium import SCHEMES, violations
from tests.sandbox.conftest import END_USER, Receiver
from tests.sandbox.running_server import running

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

HOSTILE = "<img src=x onerror=alert(1)>\"'&"


@dataclass
class Stage:
    """The page, a program that calls the API, and the receiver of the webhooks."""

    page: Page
    sandbox: Sandbox
    api: httpx.AsyncClient
    receiver: Receiver
    troubles: list[str] = field(default_factory=list)

    async def connect(self, tool: str = "personio", **end_user: str) -> str:
        body = END_USER | {"end_user_origin_id": "acme", **end_user}
        response = await self.api.post("/v1/connect/create-link", json=body)
        return (await self.sandbox.complete(response.json()["data"]["link"], tool)).integration_id

    async def act(self, name: str) -> None:
        await self.page.get_by_role("button", name=name).first.click()

    def rows(self, place: str) -> Locator:
        return self.page.get_by_test_id(place) if place.startswith("sandbox") else self.page.locator(place)

    def state(self) -> Any:
        return self.sandbox.report()


@pytest_asyncio.fixture(loop_scope="session")
async def stage(browser: Browser) -> AsyncIterator[Stage]:
    receiver = Receiver()
    sandbox = Sandbox(
        webhook_url="https://app.example/webhooks", webhook_transport=httpx.MockTransport(receiver)
    )
    context = await browser.new_context(reduced_motion="reduce", bypass_csp=True)
    context.set_default_timeout(10_000)
    with running(sandbox.app, host="localhost") as url:
        async with httpx.AsyncClient(base_url=url, headers={"Authorization": "Bearer any"}) as api:
            stage = Stage(await context.new_page(), sandbox, api, receiver)
            stage.page.on("pageerror", lambda error: stage.troubles.append(str(error)))
            stage.page.on(
                "console", lambda line: stage.troubles.append(line.text) if line.type == "error" else None
            )
            await stage.page.goto(url)
            yield stage
            await context.close()  # before the server: the page asks it for news
    await sandbox.aclose()
    assert stage.troubles == []


async def test_each_request_is_listed_and_its_bodies_are_read_by_keyboard(stage: Stage) -> None:
    await expect(stage.page.locator("#requests")).to_have_text("The API was not called yet.")
    await stage.connect()
    await stage.api.get("/v1/integrations/nope")
    rows = stage.page.locator("#requests li")
    await expect(rows).to_have_count(2)
    await expect(rows.first).to_contain_text("GET /v1/integrations/nope")
    await expect(rows.first).to_contain_text("404")
    await rows.last.locator("summary").press("Enter")
    await expect(rows.last.get_by_role("region", name="Request body")).to_contain_text('"Acme"')
    await expect(rows.last.get_by_role("region", name="Response body")).to_contain_text("[redacted]")
    link = stage.state()["links"][0]["link"]
    assert httpx.URL(link).params["token"] not in await stage.page.locator("#requests").inner_text()


async def test_open_bodies_and_the_focus_stay_while_requests_arrive(stage: Stage) -> None:
    await stage.connect()
    summary = stage.page.locator("#requests summary").first
    await summary.press("Enter")
    region = stage.page.get_by_role("region", name="Response body")
    await region.focus()
    await stage.api.get("/v1/check-api-key")
    await expect(stage.page.locator("#requests li")).to_have_count(2)
    await expect(region).to_be_focused()
    await expect(region).to_be_visible()
    reject = stage.page.get_by_role("button", name="Reject credentials")
    await reject.press("Enter")
    await expect(stage.page.get_by_role("button", name="Accept credentials")).to_be_focused()


async def test_a_webhook_is_listed_with_its_integration_and_body_and_is_repeated(stage: Stage) -> None:
    await stage.connect("payfitcustomer")
    row = stage.page.locator("#deliveries li")
    await expect(row).to_contain_text("PayFit (customer), Acme")
    await expect(row).to_contain_text("204 after 1 attempt")
    await row.locator("summary").click()
    shown = await row.locator("pre").inner_text()
    assert json.loads(shown)["data"]["tool"] == "payfitcustomer"
    await stage.act("Repeat")
    await expect(stage.page.locator("#deliveries li")).to_have_count(2)
    await expect(stage.page.locator("#deliveries li").first).to_contain_text("repeated")
    assert len({request.content for request in stage.receiver.requests}) == 1
    assert len(stage.receiver.requests) == 2


async def test_an_integration_is_broken_left_incomplete_changed_and_deleted(stage: Stage) -> None:
    integration_id = await stage.connect()
    row = stage.page.locator("#integrations")
    await stage.act("Reject credentials")
    await expect(row).to_contain_text("INVALID")
    await stage.act("Leave setup incomplete")
    await expect(row).to_contain_text("setup INCOMPLETE")
    body = {"link_type": "EMBEDDED"}
    setup_link = await stage.api.post(f"/v1/integrations/{integration_id}/setup-link", json=body)
    assert setup_link.status_code == 200
    await stage.act("Complete setup")
    await expect(row).not_to_contain_text("INCOMPLETE")
    await stage.act("Change data")
    await expect(stage.page.locator("#deliveries li").first).to_contain_text("data-changed")
    await stage.act("Delete")
    await expect(row).to_have_text("No tool is connected yet.")
    await expect(stage.page.locator("#deliveries li").first).to_contain_text("integration-deleted")
    await expect(stage.page.locator("#deliveries li").first).to_contain_text("Personio")


async def test_the_next_webhook_is_lost_on_request(stage: Stage) -> None:
    await stage.act("Lose the next webhook")
    await expect(stage.page.locator("#pending-webhooks")).to_have_text("The next webhook is lost.")
    await stage.connect()
    await expect(stage.page.locator("#deliveries li")).to_contain_text("dropped")
    await expect(stage.page.locator("#pending-webhooks")).to_be_empty()
    assert stage.receiver.requests == []
    await stage.page.get_by_label("Send each").select_option("twice")
    await stage.connect()
    await expect(stage.page.locator("#deliveries li")).to_have_count(3)
    assert len(stage.receiver.requests) == 2


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("429, too many requests", 429),
        ("500", 500),
        ("401, wrong API key", 401),
    ],
)
async def test_the_next_requests_are_answered_with_an_error_on_request(
    stage: Stage, answer: str, status: int
) -> None:
    await stage.page.locator("[name=times]").select_option("the next three")
    await stage.page.locator("[name=path]").select_option("create-link")
    await stage.page.locator("[name=answer]").select_option(answer)
    await stage.act("Set")
    await expect(stage.page.locator("#faults")).to_contain_text(f"{status} for the next 3 requests")
    assert (await stage.api.get("/v1/check-api-key")).status_code == 200
    statuses = [(await stage.api.post("/v1/connect/create-link", json=END_USER)).status_code for _ in "12"]
    assert statuses == [status, status]
    await expect(stage.page.locator("#requests li").first).to_contain_text("injected")
    await stage.act("Clear")
    await expect(stage.page.locator("#faults")).to_be_empty()
    assert (await stage.api.post("/v1/connect/create-link", json=END_USER)).status_code == 200


async def test_slow_answers_are_set_until_they_are_cleared(stage: Stage) -> None:
    await stage.page.locator("[name=times]").select_option("every")
    await stage.page.locator("[name=answer]").select_option("the response, 5 seconds late")
    await stage.act("Set")
    await expect(stage.page.locator("#faults")).to_have_text("A slow response (5 s) for every request.")
    (fault,) = stage.state()["faults"]
    assert (fault["mode"], fault["seconds"], fault["path"], fault["times"]) == ("slow", 5, "*", 1_000_000)


async def test_what_a_customer_wrote_is_text(stage: Stage) -> None:
    await stage.connect(HOSTILE, end_user_organization_name=HOSTILE)
    await stage.api.get(f"/v1/{HOSTILE}")
    await stage.api.post("/_sandbox/webhooks/send", json={"type": HOSTILE, "data": {"tool": HOSTILE}})
    for place in ("#integrations", "#links", "#requests", "#deliveries"):
        await expect(stage.page.locator(place)).to_contain_text(HOSTILE)
    assert await stage.page.locator("main img[src=x]").count() == 0
    stage.troubles.clear()  # this tool has no tile


async def test_an_error_of_a_control_is_reported_until_the_next_one(stage: Stage) -> None:
    await stage.connect()
    refused = {"status": 404, "json": {"error": "There is no integration."}}
    await stage.page.route("**/_sandbox/delete", lambda route: route.fulfill(**refused))
    await stage.act("Delete")
    await expect(stage.page.get_by_role("alert")).to_have_text("There is no integration.")
    await stage.page.unroute("**/_sandbox/delete")
    await stage.act("Delete")
    await expect(stage.page.get_by_role("alert")).to_be_hidden()
    await expect(stage.page.locator("#integrations")).to_have_text("No tool is connected yet.")
    stage.troubles.clear()  # the browser logs the 404


async def test_a_sandbox_that_has_stopped_is_reported_until_it_is_back(stage: Stage) -> None:
    await stage.page.route("**/_sandbox/state*", lambda route: route.abort())
    await expect(stage.page.get_by_role("alert")).to_contain_text("It may have been stopped.")
    await stage.page.unroute("**/_sandbox/state*")
    await expect(stage.page.get_by_role("alert")).to_be_hidden()
    stage.troubles.clear()


async def test_many_records_are_cut_to_the_newest(stage: Stage) -> None:
    for _ in range(52):
        await stage.connect()
    for place in ("#integrations", "#links", "#requests", "#deliveries"):
        await expect(stage.page.locator(f"{place} > ul > li")).to_have_count(50)
        await expect(stage.page.locator(place)).to_contain_text("Only the newest 50 are shown.")


@SCHEMES
async def test_axe_reports_no_violation(stage: Stage, scheme: str) -> None:
    await stage.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of two
    assert await violations(stage.page) == []
    await stage.connect()
    await stage.act("Lose the next webhook")
    await stage.connect()
    await stage.act("Set")
    for place in ("#requests", "#deliveries"):
        await stage.page.locator(f"{place} summary").first.click()
    assert await violations(stage.page) == []
    await expect(stage.page.locator("#trouble")).to_be_empty()
