"""Host apps and the local sandbox on real ports, and one end user's browser in front of them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, FrameLocator, Page
from playwright.async_api import Error as PlaywrightError
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from kombo_embed import EndUser, KomboEmbed
from kombo_embed.demo import create_app
from kombo_embed.sandbox import Sandbox
from tests.support import (
    API_KEY,
    WEBHOOK_SECRET,
    database_with_tables,
    exchanged,
    make_settings,
    minted,
    served,
)

PAGES = Path(__file__).parent / "pages"


@dataclass(frozen=True, slots=True)
class Stage:
    """A host app and the local sandbox, in this process."""

    url: str
    sandbox_url: str
    sandbox: Sandbox
    embed: KomboEmbed
    built: Path  # pages that a test has built; they have no content policy

    def minted(self) -> int:
        return minted(self.sandbox)

    def exchanged(self) -> int:
        return exchanged(self.sandbox)


@dataclass
class Visit:
    """An end user of an organization of their own, at the stage's host app.

    Errors in the browser's console fail the test unless it clears ``console_errors``.
    """

    stage: Stage
    context: BrowserContext
    page: Page
    organization: str
    console_errors: list[str] = field(default_factory=list)

    def watch_console(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        page.on("console", self._record)

    def _record(self, line: ConsoleMessage) -> None:
        if line.type == "error":
            self.console_errors.append(line.text)

    @property
    def dialog(self) -> FrameLocator:
        return self.page.frame_locator(f"iframe[src^='{self.stage.sandbox_url}']")

    async def open(self, page: str = "host.html") -> None:
        await self.page.goto(f"{self.stage.url}/{page}")
        await self.until("window.kombo !== undefined")

    async def until(self, condition: str) -> None:
        """Wait for a condition in the page; Playwright's own wait needs eval, which the policy forbids."""
        async with asyncio.timeout(30):
            while not await self.page.evaluate(condition):  # noqa: ASYNC110 - in another process
                await asyncio.sleep(0.02)

    async def choose(self, tool: str) -> None:
        await self.dialog.locator(f"[data-testid=tool][data-tool={tool}]").click()

    async def finish(self, tool: str | None = "personio") -> None:
        """Complete the flow in Kombo's dialog."""
        if tool is not None:
            await self.choose(tool)
        await self.dialog.get_by_test_id("credentials").fill("anything")
        await self.dialog.get_by_test_id("finish").click()
        await leave(self.dialog)

    async def connect(self, tool: str = "personio") -> None:
        await self.page.get_by_role("button", name="Connect your HR tool").click()
        await self.finish(tool)

    async def until_recorded(self) -> list[str]:
        """Wait until something is recorded; return it."""
        async with asyncio.timeout(30):
            while not (tools := await self.recorded()):  # noqa: ASYNC110 - by the last request of a page
                await asyncio.sleep(0.02)
        return tools

    async def recorded(self) -> list[str]:
        """Return the tools that the host has recorded for this organization."""
        return [integration.tool for integration in await self.stage.embed.integrations(self.organization)]


async def leave(dialog: FrameLocator) -> None:
    """Press Done; the dialog also closes by itself after a moment."""
    with suppress(PlaywrightError):
        await dialog.get_by_role("button", name="Done").click(timeout=5_000)


@asynccontextmanager
async def running_stage(folder: Path, **settings: Any) -> AsyncIterator[Stage]:
    sandbox = Sandbox(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(sandbox.aclose)
        sandbox_url = await stack.enter_async_context(served(sandbox.app))
        embed = KomboEmbed(
            end_user=end_user_from_cookie,
            settings=make_settings(
                api_url=f"{sandbox_url}/v1",
                database_url=f"sqlite+aiosqlite:///{folder / 'stage.db'}",
                allow_disconnect=True,
                **settings,
            ),
        )
        built = folder / "built"
        built.mkdir()
        pages = Mount("/built", StaticFiles(directory=built))
        app = Starlette(routes=[pages, Route("/{name}", partial(serve_page, frames_from=sandbox_url))])
        embed.install(app)
        url = await stack.enter_async_context(served(app))
        sandbox.webhook_url = f"{url}/kombo/webhooks"
        yield Stage(url, sandbox_url, sandbox, embed, built)


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo's host app and its sandbox, in this process."""

    url: str
    sandbox_url: str
    sandbox: Sandbox


@asynccontextmanager
async def running_demo(folder: Path) -> AsyncIterator[Demo]:
    sandbox = Sandbox(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(sandbox.aclose)
        sandbox_url = await stack.enter_async_context(served(sandbox.app))
        settings = make_settings(
            api_url=f"{sandbox_url}/v1",
            database_url=f"sqlite+aiosqlite:///{folder}/demo.db",
            allow_disconnect=True,
        )
        (folder / "demo.db").write_bytes(database_with_tables())
        app = create_app(settings, session_secret="made-up", sandbox_url=sandbox_url)
        url = await stack.enter_async_context(served(app))
        sandbox.webhook_url = f"{url}/kombo/webhooks"
        yield Demo(url, sandbox_url, sandbox)
        await sandbox.settle()


@asynccontextmanager
async def visiting(browser: Browser, stage: Stage, **options: Any) -> AsyncIterator[Visit]:
    """Open a browser for an end user of a new organization."""
    context = await browser.new_context(**options)
    context.set_default_timeout(30_000)
    organization = f"org-{secrets.token_hex(6)}"
    await context.add_cookies([{"name": "organization", "value": organization, "url": stage.url}])
    visit = Visit(stage, context, await context.new_page(), organization)
    visit.watch_console(visit.page)
    yield visit
    await context.close()
    assert visit.console_errors == [], visit.console_errors


async def end_user_from_cookie(connection: HTTPConnection) -> EndUser | None:
    """Return the end user of the stage's login: Ada, of the organization in the cookie."""
    organization = connection.cookies.get("organization")
    if organization is None:
        return None
    return EndUser(email="ada@acme.example", organization_name="Acme", origin_id=organization)


async def serve_page(request: Request, *, frames_from: str) -> Response:
    """Serve one of the pages under the strictest content policy that works."""
    name = request.path_params["name"]
    frames = "'none'" if "unframed" in request.query_params else frames_from
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        f"img-src 'self' data: {frames_from}; "
        f"base-uri 'none'; form-action 'self'; require-trusted-types-for 'script'; frame-src {frames}"
    )
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-cache"}
    return FileResponse(PAGES / name, headers=headers)
