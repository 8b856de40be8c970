"""The demo as an end user uses it: a real Chromium, the real SDK, two origins."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, FrameLocator, Page, Route, expect

from tests.browser.stage import Demo
from tests.support import free_port, minted

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@dataclass
class Visit:
    """One person's browser, and the errors in its console."""

    page: Page
    url: str
    sandbox_url: str
    console_errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        self.page.on(
            "console", lambda line: self.console_errors.append(line.text) if line.type == "error" else None
        )

    @property
    def dialog(self) -> FrameLocator:
        return self.page.frame_locator(f"iframe[src^='{self.sandbox_url}']")

    async def sign_in(self, person: str) -> None:
        await self.page.goto(self.url)
        await self.page.locator(f"[data-testid=sign-in][data-person={person}]").click()
        await expect(self.page.get_by_test_id("connect")).to_be_visible()

    async def connect(self, tool: str) -> None:
        await self.page.get_by_test_id("connect").click()
        await self.dialog.locator(f"[data-testid=tool][data-tool={tool}]").click()
        await self.dialog.get_by_test_id("credentials").first.fill("anything")
        await self.dialog.get_by_test_id("finish").click()


@asynccontextmanager
async def visiting(browser: Browser, url: str, sandbox_url: str) -> AsyncIterator[Visit]:
    context = await browser.new_context()
    visit = Visit(await context.new_page(), url, sandbox_url)
    yield visit
    await context.close()
    assert visit.console_errors == []


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, demo: Demo) -> AsyncIterator[Visit]:
    async with visiting(browser, demo.url, demo.sandbox_url) as visit:
        yield visit


async def test_a_person_signs_in_and_connects_a_tool_which_is_listed_after_a_reload(
    visit: Visit, demo: Demo
) -> None:
    await visit.sign_in("ada")
    await expect(visit.page.get_by_test_id("integration")).to_have_count(0)
    await visit.connect("personio")
    row = visit.page.get_by_test_id("integration")
    await expect(row).to_have_count(1)
    await expect(row).to_contain_text("Personio")
    await expect(visit.page.get_by_test_id("event").first).to_be_visible()
    await expect(visit.page.locator("iframe")).to_have_count(0)
    await visit.page.reload()
    await expect(visit.page.get_by_test_id("integration")).to_have_count(1)
    assert minted(demo.sandbox) == 1


async def test_two_integrations_of_one_tool_are_marked_as_duplicates(visit: Visit) -> None:
    await visit.sign_in("ada")
    rows = visit.page.get_by_test_id("integration")
    for count in (1, 2):
        await visit.connect("personio")
        await visit.dialog.get_by_role("button", name="Done").click()
        await expect(rows).to_have_count(count, timeout=15_000)
        events = visit.page.get_by_test_id("event").filter(has_text="Personio is up and running")
        await expect(events).to_have_count(count, timeout=15_000)
    await expect(rows.first).to_contain_text("Connected")
    await expect(rows.first).not_to_contain_text("twice")
    await expect(rows.last).to_contain_text("Connected twice")


async def test_while_a_completion_is_under_way_the_button_says_so(visit: Visit) -> None:
    await visit.sign_in("ada")
    release = asyncio.Event()

    async def hold(route: Route) -> None:
        await release.wait()
        await route.continue_()

    await visit.page.route("**/kombo/completions", hold)
    await visit.connect("personio")
    button = visit.page.get_by_test_id("connect")
    await expect(button).to_have_text("Finishing…")
    await expect(button).to_have_attribute("aria-busy", "true")
    release.set()
    await expect(button).to_have_text("Connect a tool")
    await expect(visit.page.get_by_test_id("integration")).to_have_count(1)


async def test_closing_the_dialog_connects_nothing_and_the_next_click_uses_the_same_link(
    visit: Visit, demo: Demo
) -> None:
    await visit.sign_in("ada")
    for _ in range(2):
        await visit.page.get_by_test_id("connect").click()
        await visit.dialog.get_by_test_id("close").first.click()
        await expect(visit.page.locator("iframe")).to_have_count(0)
    await expect(visit.page.get_by_test_id("integration")).to_have_count(0)
    assert minted(demo.sandbox) == 1


async def test_colleagues_see_the_integration_without_reloading_and_other_organizations_do_not(
    visit: Visit, demo: Demo, browser: Browser
) -> None:
    await visit.sign_in("grace")
    for person, rows in (("ada", 1), ("margaret", 0)):
        async with visiting(browser, demo.url, demo.sandbox_url) as other:
            await other.sign_in(person)
            if rows:
                await other.connect("personio")
            await expect(other.page.get_by_test_id("integration")).to_have_count(rows)
    await expect(visit.page.get_by_test_id("integration")).to_have_count(1)
    await expect(visit.page.get_by_test_id("event").first).to_be_visible()


@pytest_asyncio.fixture(loop_scope="session")
async def process(browser: Browser, tmp_path: Path) -> AsyncIterator[Visit]:
    """Run the demo as its command does, and open a browser."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kombo_embed", "demo", "--port", "0", "--sandbox-port", "0", "--no-open"),
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("KOMBO_")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    urls: list[str] = []
    async with asyncio.timeout(60):
        while len(urls) < 2:
            line = (await process.stdout.readline()).decode()
            assert line, "the demo exited before it printed its URLs"
            urls += re.findall(r"http://localhost:\d+", line)
    async with visiting(browser, *urls[:2]) as visit:
        yield visit
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(30):
        _, errors = await process.communicate()
    assert (process.returncode, errors.decode()) == (0, "")


async def test_with_the_demo_command_the_next_link_opens_after_a_reset_of_the_sandbox_and_after_its_hour(
    process: Visit,
) -> None:
    await process.sign_in("ada")
    await process.page.get_by_test_id("connect").click()
    await process.dialog.get_by_test_id("close").first.click()
    async with httpx.AsyncClient(base_url=process.sandbox_url) as control:
        for path, body in (("reset", {}), ("clock", {"advance": 3600})):
            (await control.post(f"/_sandbox/{path}", json=body)).raise_for_status()
            await expect(process.page.locator("iframe")).to_have_count(0)
            await process.page.get_by_test_id("connect").click()
            await expect(process.dialog.get_by_test_id("tool").first).to_be_visible()
            await process.dialog.get_by_test_id("close").first.click()
    await process.connect("personio")
    await expect(process.page.get_by_test_id("integration")).to_have_count(1)


async def test_a_tool_with_the_name_of_a_property_of_every_object_is_listed_as_any_other(
    visit: Visit, demo: Demo
) -> None:
    await visit.sign_in("ada")
    headers = "{'Content-Type': 'application/json'}"
    send = f"fetch('/kombo/links', {{method: 'POST', body, headers: {headers}}})"
    async with httpx.AsyncClient(base_url=demo.sandbox_url) as control:
        for number, tool in enumerate(("constructor", "__proto__", "toString"), start=1):
            chosen = json.dumps({"integration_tool": tool})
            link = await visit.page.evaluate(f"(body) => {send}.then((one) => one.json())", chosen)
            done = await control.post("/_sandbox/complete", json={"link": link["link"], "tool": tool})
            done.raise_for_status()
            await expect(visit.page.get_by_test_id("integration")).to_have_count(number)
            await expect(visit.page.get_by_test_id("integration").filter(has_text=tool)).to_have_count(1)


async def test_under_another_name_than_localhost_the_whole_flow_works(
    browser: Browser, tmp_path: Path
) -> None:
    """As in a container: it listens on every address, and the browser has a name for it."""
    port, sandbox_port = free_port(), free_port()
    url = f"http://fieldnotes.test:{port}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kombo_embed", "demo", "--no-open", "--host", "0.0.0.0"),  # noqa: S104
        *("--port", str(port), "--sandbox-port", str(sandbox_port), "--public-url", url),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while b"Ctrl-C" not in await process.stdout.readline():
                assert not process.stdout.at_eof()
        async with visiting(browser, url, f"http://fieldnotes.test:{sandbox_port}") as visit:
            await visit.sign_in("ada")
            await visit.connect("personio")
            await expect(visit.page.get_by_test_id("integration")).to_contain_text("Personio")
            await visit.page.goto(visit.sandbox_url)
            await expect(visit.page.locator("body")).to_contain_text("create-link")
        async with httpx.AsyncClient(trust_env=False) as rebound:
            for served_port in (port, sandbox_port):
                headers = {"Host": f"evil.example:{served_port}"}
                response = await rebound.get(f"http://127.0.0.1:{served_port}/", headers=headers)
                assert response.status_code == 403
    finally:
        process.terminate()
        await process.wait()
