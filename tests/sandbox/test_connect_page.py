"""The Connect page in a real browser, framed as Kombo's browser SDK frames it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    ConsoleMessage,
    Frame,
    Locator,
    Page,
    Response,
    expect,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from kombo_embed.sandbox import Sandbox
from tests.sandbox.running_server import running

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

CONNECTING_MS, LEAVING_MS = 700, 150  # as in connect.js
# What @kombo-api/connect 1.3.0 does with a link; its `sdkv` parameter included.
HOST_PAGE = """<!doctype html>
<html lang="en"><head><title>Host app</title><link rel="icon" href="data:,"></head><body><script>
window.messages = [];
window.openConnect = (link) => {
  const url = new URL(link);
  url.searchParams.set("sdkv", "1.3.0");
  const frame = document.createElement("iframe");
  frame.setAttribute("src", url.toString());
  frame.setAttribute("allowtransparency", "true");
  frame.setAttribute("allow", "clipboard-read; clipboard-write");
  frame.setAttribute("sandbox", "allow-scripts allow-downloads allow-same-origin allow-top-navigation " +
    "allow-forms allow-popups allow-pointer-lock allow-popups-to-escape-sandbox");
  Object.assign(frame.style, {
    zIndex: Number.MAX_SAFE_INTEGER.toString(), position: "fixed", width: "100%", height: "100%",
    top: "0", bottom: "0", left: "0", right: "0",
  });
  window.addEventListener("message", (event) => {
    if (event.source !== frame.contentWindow) return;
    window.messages.push(event.data);
    frame.remove();
  });
  document.body.append(frame);
};
</script></body></html>"""


@dataclass
class Stage:
    """A host page with the Connect page in it, and all that went wrong in the browser."""

    page: Page
    sandbox: Sandbox
    api: httpx.AsyncClient
    host_url: str
    troubles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._note_message)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("requestfailed", lambda request: self.troubles.append(f"failed: {request.url}"))
        self.page.on("response", self._note_status)

    async def mint(self, **fields: object) -> str:
        end_user = {"end_user_email": "ada@acme.example", "end_user_organization_name": "Acme"}
        return await self.link_of("/v1/connect/create-link", {**end_user, **fields})

    async def link_of(self, path: str, body: object) -> str:
        response = await self.api.post(path, json=body)
        return str(response.json()["data"]["link"])

    async def open(self, link: str) -> None:
        await self.page.goto(self.host_url)
        await self.page.evaluate("link => openConnect(link)", link)
        await self.connect("h1").wait_for()

    def sandbox_url(self) -> str:
        return str(self.api.base_url)

    def connect(self, selector: str) -> Locator:
        return self.page.frame_locator("iframe").locator(selector)

    def part(self, test_id: str) -> Locator:
        return self.page.frame_locator("iframe").get_by_test_id(test_id)

    def frame(self) -> Frame:
        return self.page.frames[1]

    async def press_escape(self) -> None:
        # The key may take its own frame away, and the browser then never reports it as handled.
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await self.page.keyboard.press("Escape")

    async def message(self) -> dict[str, Any]:
        await self.page.wait_for_function("messages.length > 0")
        messages: list[dict[str, Any]] = await self.page.evaluate("messages")
        assert len(messages) == 1
        return messages[0]

    async def exchanged(self) -> str:
        token = (await self.message())["data"]["activation_token"]
        response = await self.api.get(f"/v1/connect/integration-by-token/{token}")
        return str(response.json()["data"]["tool"])

    def integration_id(self) -> str:
        report: Any = self.sandbox.report()
        return str(report["integrations"][0]["id"])

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.troubles.append(message.text)

    def _note_status(self, response: Response) -> None:
        if response.status >= 400:
            self.troubles.append(f"{response.status}: {response.url}")


@pytest_asyncio.fixture(loop_scope="session")
async def stage(browser: Browser) -> AsyncIterator[Stage]:
    async def host_page(_request: Request) -> HTMLResponse:
        return HTMLResponse(HOST_PAGE)

    sandbox = Sandbox()
    host = Starlette(routes=[Route("/", host_page)])
    headers = {"Authorization": "Bearer any"}
    with running(sandbox.app) as sandbox_url, running(host, host="localhost") as host_url:
        context = await browser.new_context()
        context.set_default_timeout(30_000)
        async with httpx.AsyncClient(base_url=sandbox_url, headers=headers) as api:
            stage = Stage(await context.new_page(), sandbox, api, host_url)
            yield stage
        await context.close()
    assert stage.troubles == []


async def test_a_finished_flow_posts_its_activation_token(stage: Stage) -> None:
    await stage.open(await stage.mint())
    await stage.connect("[data-testid=tool][data-tool=personio]").click()
    await stage.part("credentials").fill("anything")
    await stage.part("finish").click()
    message = await stage.message()
    assert message.keys() == {"type", "data"}
    assert (message["type"], message["data"].keys()) == ("success", {"activation_token"})
    assert await stage.exchanged() == "personio"


async def test_a_failed_flow_can_be_finished_afterwards(stage: Stage) -> None:
    await stage.open(await stage.mint(integration_tool="bamboohr"))
    await stage.part("credentials").fill("wrong")
    await stage.part("fail").click()
    await expect(stage.connect("[role=alert]")).to_contain_text("BambooHR did not accept")
    await expect(stage.part("credentials")).to_be_focused()
    await stage.part("credentials").fill("right")
    await stage.part("finish").click()
    assert await stage.exchanged() == "bamboohr"
    deliveries: Any = stage.sandbox.report()["deliveries"]
    assert [entry["type"] for entry in deliveries] == ["connection-flow-failed", "integration-created"]


async def test_closing_posts_the_close_message_alone(stage: Stage) -> None:
    await stage.open(await stage.mint())
    await stage.part("close").click()
    assert await stage.message() == {"type": "close"}


@pytest.mark.parametrize("fields", [{}, {"integration_tool": "personio"}], ids=["the list", "credentials"])
async def test_escape_closes_the_page(stage: Stage, fields: dict[str, str]) -> None:
    await stage.open(await stage.mint(**fields))
    await stage.press_escape()
    assert await stage.message() == {"type": "close"}


@pytest.mark.parametrize("way", ["Escape", "Done"])
async def test_closing_the_success_screen_is_still_a_success(stage: Stage, way: str) -> None:
    clock = stage.page.clock
    await clock.install(time=0)
    await stage.open(await stage.mint(integration_tool="personio"))
    await clock.pause_at(60_000)  # the screen would go away by itself, which is not what is tested here
    await stage.part("finish").click()
    await expect(stage.connect(".spinner")).to_be_visible()
    await clock.run_for(CONNECTING_MS)
    await expect(stage.connect("h1")).to_have_text("Personio is connected")
    await (stage.press_escape() if way == "Escape" else stage.connect("button:has-text('Done')").click())
    await clock.run_for(LEAVING_MS)
    assert (await stage.message())["type"] == "success"


async def test_the_keyboard_alone_is_enough(stage: Stage) -> None:
    await stage.open(await stage.mint())
    await expect(stage.connect("#search")).to_be_focused()
    await stage.page.keyboard.type("hib")
    await stage.page.keyboard.press("ArrowDown")
    await expect(stage.connect("[data-tool=hibob]")).to_be_focused()
    await stage.page.keyboard.press("Enter")
    await expect(stage.part("credentials")).to_be_focused()
    await stage.page.keyboard.type("anything")
    await stage.page.keyboard.press("Enter")
    assert await stage.exchanged() == "hibob"


async def test_tab_stays_within_the_card(stage: Stage) -> None:
    await stage.open(await stage.mint(integration_tool="personio"))
    await expect(stage.part("credentials")).to_be_focused()
    seen = []
    for _ in range(4):
        await stage.page.keyboard.press("Tab")
        seen.append(await stage.frame().evaluate("document.activeElement.dataset.testid"))
    assert seen == ["finish", "fail", "close", "credentials"]


async def test_the_list_is_searched_by_label(stage: Stage) -> None:
    await stage.open(await stage.mint())
    await stage.connect("#search").fill("sap success")
    await expect(stage.part("tool")).to_have_count(1)
    await stage.connect("#search").fill("no such tool")
    await expect(stage.connect("[role=status]")).to_have_text("No tool matches “no such tool”.")


async def test_the_end_user_can_go_back_and_choose_another_tool(stage: Stage) -> None:
    await stage.open(await stage.mint())
    await stage.connect("[data-tool=personio]").click()
    await stage.connect("[aria-label=Back]").click()
    await stage.connect("[data-tool=hibob]").click()
    await expect(stage.connect("h1")).to_have_text("Connect HiBob")


async def test_a_link_with_language_de_opens_the_page_in_german(stage: Stage) -> None:
    await stage.open(await stage.mint(language="de", integration_tool="personio"))
    await expect(stage.connect("h1")).to_have_text("Personio verbinden")
    assert await stage.frame().evaluate("document.documentElement.lang") == "de"
    assert await stage.frame().title() == "Personio verbinden · Connect"


async def test_an_expired_link_is_explained_and_can_be_closed(stage: Stage) -> None:
    link = await stage.mint()
    stage.sandbox.clock.advance(3600)
    await stage.open(link)
    await expect(stage.connect("h1")).to_have_text("This link has expired")
    await stage.part("close").click()
    assert await stage.message() == {"type": "close"}


async def test_a_reconnection_asks_for_credentials_at_once(stage: Stage) -> None:
    await stage.open(await stage.mint(integration_tool="personio"))
    await stage.part("finish").click()
    first = await stage.message()
    await stage.open(await stage.link_of(f"/v1/integrations/{stage.integration_id()}/relink", {}))
    await expect(stage.connect("h1")).to_have_text("Reconnect Personio")
    await stage.part("finish").click()
    assert (await stage.message())["data"] != first["data"]


async def test_a_setup_flow_asks_what_to_share(stage: Stage) -> None:
    await stage.open(await stage.mint(integration_tool="personio", enable_filtering=True))
    await stage.part("finish").click()
    await stage.message()
    path = f"/v1/integrations/{stage.integration_id()}/setup-link"
    await stage.open(await stage.link_of(path, {"link_type": "EMBEDDED"}))
    await expect(stage.connect("h1")).to_have_text("Finish setting up Personio")
    await stage.part("finish").click()
    assert (await stage.message())["type"] == "success"


async def test_a_magic_link_ends_on_a_last_screen(stage: Stage) -> None:
    await stage.page.goto(await stage.mint(link_type="MAGIC_LINK", integration_tool="personio"))
    await stage.page.get_by_test_id("finish").click()
    await expect(stage.page.locator("h1")).to_have_text("Personio is connected")
    await expect(stage.page.locator("body")).to_contain_text("You can close this window now.")
    await expect(stage.page.get_by_test_id("close")).to_have_count(0)


async def test_a_closed_magic_link_can_be_continued(stage: Stage) -> None:
    await stage.page.goto(await stage.mint(link_type="MAGIC_LINK"))
    await stage.page.get_by_test_id("close").click()
    await expect(stage.page.locator("h1")).to_have_text("Not connected yet")
    await stage.page.get_by_role("button", name="Continue").click()
    await expect(stage.page.locator("h1")).to_have_text("Choose your HR system")


async def test_the_state_page_is_updated_by_itself(stage: Stage) -> None:
    await stage.page.goto(stage.sandbox_url())
    await expect(stage.page.locator("#integrations")).to_have_text("No tool is connected yet.")
    await stage.sandbox.complete(await stage.mint())
    await expect(stage.page.locator("#integrations")).to_contain_text("Personio")
    await stage.page.get_by_role("button", name="Reject credentials").click()
    await expect(stage.page.locator("#integrations")).to_contain_text("INVALID")


@pytest.mark.parametrize("width", [320, 390, 1280])
async def test_nothing_is_wider_than_the_window(stage: Stage, width: int) -> None:
    await stage.page.set_viewport_size({"width": width, "height": 700})
    list_of_tools, credentials = await stage.mint(), await stage.mint(language="fr", integration_tool="hibob")
    for address in (list_of_tools, credentials, stage.sandbox_url()):
        await stage.page.goto(address)
        await stage.page.locator("h1").wait_for()
        assert await stage.page.evaluate("document.documentElement.scrollWidth") <= width
