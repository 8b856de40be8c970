"""The main job as a person does it: a real Chromium, the real SDK, two origins, the demo as a process."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, FrameLocator, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@dataclass
class Demo:
    """The running demo: where it is, and what its sandbox was asked."""

    url: str
    sandbox_url: str

    async def state(self) -> dict[str, Any]:
        async with httpx.AsyncClient() as client:
            answer: dict[str, Any] = (await client.get(f"{self.sandbox_url}/_sandbox/state")).json()
            return answer

    async def minted(self) -> int:
        calls: dict[str, int] = (await self.state())["calls"]
        return calls.get("POST /v1/connect/create-link", 0)


@dataclass
class Visit:
    """One person's browser, and everything in it that went wrong."""

    page: Page
    demo: Demo
    troubles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on(
            "console", lambda line: self.troubles.append(line.text) if line.type == "error" else None
        )

    @property
    def dialog(self) -> FrameLocator:
        return self.page.frame_locator(f"iframe[src^='{self.demo.sandbox_url}']")

    async def sign_in(self, person: str) -> None:
        await self.page.goto(self.demo.url)
        await self.page.locator(f"[data-testid=sign-in][data-person={person}]").click()
        await expect(self.page.get_by_test_id("connect")).to_be_visible()

    async def connect(self, tool: str) -> None:
        await self.page.get_by_test_id("connect").click()
        await self.dialog.locator(f"[data-testid=tool][data-tool={tool}]").click()
        await self.dialog.get_by_test_id("credentials").first.fill("anything")
        await self.dialog.get_by_test_id("finish").click()


@pytest_asyncio.fixture(loop_scope="module")
async def demo(tmp_path: Path) -> AsyncIterator[Demo]:
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
            assert line, "the demo ended before it began"
            urls += re.findall(r"http://localhost:\d+", line)
    yield Demo(*urls)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(30):
        _, complaints = await process.communicate()
    assert (process.returncode, complaints.decode()) == (0, "")


@pytest_asyncio.fixture(loop_scope="module")
async def visit(browser: Browser, demo: Demo) -> AsyncIterator[Visit]:
    context = await browser.new_context()
    visit = Visit(await context.new_page(), demo)
    yield visit
    await context.close()
    assert visit.troubles == []


async def test_a_person_signs_in_connects_a_tool_and_finds_it_there_after_a_reload(visit: Visit) -> None:
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
    assert await visit.demo.minted() == 1
    assert len((await visit.demo.state())["integrations"]) == 1


async def test_what_came_of_it_is_told_apart_and_a_second_time_is_marked(visit: Visit) -> None:
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


async def test_closing_the_dialog_does_nothing_and_the_next_click_uses_the_same_link(visit: Visit) -> None:
    await visit.sign_in("ada")
    for _ in range(2):
        await visit.page.get_by_test_id("connect").click()
        await visit.dialog.get_by_test_id("close").first.click()
        await expect(visit.page.locator("iframe")).to_have_count(0)
    await expect(visit.page.get_by_test_id("integration")).to_have_count(0)
    assert await visit.demo.minted() == 1
    state = await visit.demo.state()
    assert state["integrations"] == []


async def test_after_the_sandbox_forgot_everything_the_next_link_opens_again(
    visit: Visit,
) -> None:
    await visit.sign_in("ada")
    await visit.page.get_by_test_id("connect").click()
    await visit.dialog.get_by_test_id("close").first.click()
    async with httpx.AsyncClient(base_url=visit.demo.sandbox_url) as control:
        for path, body in (("reset", {}), ("clock", {"advance": 3600})):
            (await control.post(f"/_sandbox/{path}", json=body)).raise_for_status()
            await expect(visit.page.locator("iframe")).to_have_count(0)
            await visit.page.get_by_test_id("connect").click()
            await expect(visit.dialog.get_by_test_id("tool").first).to_be_visible()
            await visit.dialog.get_by_test_id("close").first.click()


async def test_wrong_credentials_can_be_corrected_in_the_same_dialog(visit: Visit) -> None:
    await visit.sign_in("margaret")
    await visit.page.get_by_test_id("connect").click()
    await visit.dialog.locator("[data-testid=tool][data-tool=hibob]").click()
    await visit.dialog.get_by_test_id("credentials").first.fill("wrong")
    await visit.dialog.get_by_test_id("fail").click()
    await visit.dialog.get_by_test_id("credentials").first.fill("right")
    await visit.dialog.get_by_test_id("finish").click()
    await expect(visit.page.get_by_test_id("integration")).to_have_count(1)
    assert await visit.demo.minted() == 1


async def test_colleagues_see_it_without_reloading_and_other_organisations_never_do(
    visit: Visit, browser: Browser
) -> None:
    await visit.sign_in("grace")
    for person, rows in (("ada", 1), ("margaret", 0)):
        context = await browser.new_context()
        other = Visit(await context.new_page(), visit.demo)
        await other.sign_in(person)
        if rows:
            await other.connect("personio")
        await expect(other.page.get_by_test_id("integration")).to_have_count(rows)
        assert other.troubles == []
        await context.close()
    await expect(visit.page.get_by_test_id("integration")).to_have_count(1)
    await expect(visit.page.get_by_test_id("event").first).to_be_visible()


async def test_a_tab_that_is_closed_before_the_token_is_posted_loses_nothing(visit: Visit) -> None:
    await visit.sign_in("ada")
    # The page's own completion never gets out, as when the tab goes away: the webhook is left.
    await visit.page.route("**/kombo/completions", lambda route: route.abort())
    await visit.connect("personio")
    await expect(visit.page.get_by_test_id("integration")).to_have_count(1)
    await visit.page.close()
    visit.troubles.clear()  # the aborted requests, which the browser itself writes down
